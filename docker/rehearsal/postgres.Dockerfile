# Stands in for the official image of PostgreSQL where images cannot be pulled.
FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends postgresql \
 && rm -rf /var/lib/apt/lists/*
ENV PATH=/usr/lib/postgresql/15/bin:$PATH PGDATA=/var/lib/postgresql/data
COPY docker/rehearsal/postgres.sh /usr/local/bin/start
RUN install -d -o postgres "$PGDATA"
# hadolint ignore=DL3066
USER postgres
VOLUME /var/lib/postgresql/data
ENTRYPOINT ["bash", "/usr/local/bin/start"]
