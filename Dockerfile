# The image that the Helm chart runs: docker build --tag freshet .
# Every layer comes from the usual registries; the tests do not build it.

FROM node:22-bookworm-slim AS web
WORKDIR /src/web
COPY web/package.json web/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY web ./
RUN npm run build

FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends protobuf-compiler libprotobuf-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
COPY --from=web /src/web/dist web/dist
RUN cargo build --release --locked --package freshet --bin freshet && strip target/release/freshet

FROM debian:bookworm-slim
COPY --from=build /src/target/release/freshet /usr/local/bin/freshet
USER 65532:65532
EXPOSE 8080/tcp 7600/udp 7700/udp
ENTRYPOINT ["/usr/local/bin/freshet"]
CMD ["dev", "--listen", "0.0.0.0:8080"]
