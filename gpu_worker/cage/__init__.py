"""What a child that reads strangers' media cannot do, whatever takes it over. Landlock and
seccomp need no privilege; both are asked for by their system calls, so that a child starts in
milliseconds: the libraries for them (landlock, pyseccomp) are pre-releases or need a shared
library that few images have. Used before `exec`, so: the standard library alone."""
