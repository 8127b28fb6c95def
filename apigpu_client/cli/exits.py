"""What the command's exit codes mean, and the errors that carry them."""

from __future__ import annotations

from enum import IntEnum

from apigpu.video.v1.job_pb2 import Job

from apigpu_client.errors import ApiGpuError, InvalidRequest, NotAllowed, NotFound, Unavailable


class Exit(IntEnum):
    DONE = 0
    FAILED = 1
    BAD_REQUEST = 2
    PARTIAL = 3
    UNREACHABLE = 4
    CANCELLED = 5
    INTERRUPTED = 130


_BY_STATE = {
    Job.SUCCEEDED: Exit.DONE,
    Job.PARTIALLY_SUCCEEDED: Exit.PARTIAL,
    Job.FAILED: Exit.FAILED,
    Job.CANCELLED: Exit.CANCELLED,
}


def of_job(job: Job) -> Exit:
    """For a job that has ended."""
    return _BY_STATE[job.state]


def of_error(error: ApiGpuError) -> Exit:
    if isinstance(error, InvalidRequest | NotFound | NotAllowed):
        return Exit.BAD_REQUEST
    if isinstance(error, Unavailable):
        return Exit.UNREACHABLE
    return Exit.FAILED


def explain(error: ApiGpuError, server: str) -> str:
    """The error in a few lines, with what to do."""
    if isinstance(error, Unavailable) and not error.details.reason:
        if "WRONG_VERSION_NUMBER" in error.message:
            return f"{server} does not speak TLS: leave --tls away, or name another with --server"
        if "CERTIFICATE_VERIFY_FAILED" in error.message:
            return (
                f"the certificate of {server} was not signed by whom this system trusts: name who"
                " did with --ca"
            )
        return (
            f"no service answers at {server}: start one with `apigpu serve`,"
            " name another with --server, or connect with --tls"
        )
    if error.details.reason == "API_KEY_MISSING":
        return f"{server} wants an API key: put it into the variable APIGPU_API_KEY"
    fields = [
        f"  {violation.field}: {violation.description}"
        for violation in error.details.violations
        if violation.field and f"{violation.field}: {violation.description}" not in error.message
    ]
    reason = f" [{error.details.reason}]" if error.details.reason else ""
    return "\n".join([f"{error.message}{reason}", *fields])


def of_local(error: ValueError | OSError) -> Exit:
    """For what went wrong on this side: the caller's word, or the machine."""
    named = FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError, ValueError
    return Exit.BAD_REQUEST if isinstance(error, named) else Exit.FAILED


def explain_local(error: ValueError | OSError) -> str:
    """What is wrong on this side, in a line."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}"
    return str(error)
