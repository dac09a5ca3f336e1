# Tidings as an image: one binary, run as a user without rights.
#
#   docker build -t tidings .
#   docker run --rm tidings --help

FROM rust:1.94-bookworm AS build
WORKDIR /src
COPY . .
# The cache mounts keep crates and compiled dependencies between builds and are no part of the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked && install -D target/release/tidings /out/tidings

FROM debian:bookworm-slim
# The public certificate authorities are built in. The folder is for the embedded mode, which keeps its files there.
RUN useradd --system --uid 10001 --home-dir /var/lib/tidings --create-home tidings
COPY --from=build /out/tidings /usr/local/bin/tidings
USER tidings
WORKDIR /var/lib/tidings
ENV TIDINGS__DATA__DIR=/var/lib/tidings
VOLUME /var/lib/tidings
EXPOSE 8470 9464
# SIGTERM: what is in flight is answered, stored and committed within `send.stop_seconds`.
STOPSIGNAL SIGTERM
ENTRYPOINT ["tidings"]
CMD ["up"]
