# The broker as an image: emitted JavaScript, production packages and nothing that compiles. It never runs as root,
# writes to /var/lib/fitz alone, and ends in good order on SIGTERM (docs/DOCKER.md).

# What builds needs a shell, tar, Node 24 and npm. What runs needs Node 24 alone, no shell.
ARG BUILDER_IMAGE=docker.io/library/node:24-bookworm-slim
ARG BASE_IMAGE=docker.io/library/node:24-bookworm-slim

FROM ${BUILDER_IMAGE} AS builder
# registry: npm fetches the packages. prepared: they come as dependencies.tar beside this file, for builds without
# a network. The bracket makes that file one that may be missing.
ARG DEPENDENCIES=registry
WORKDIR /src
COPY package.json package-lock.json .npmrc dependencies.ta[r] ./
RUN case "$DEPENDENCIES" in \
      registry) npm ci --ignore-scripts ;; \
      prepared) tar -xf dependencies.tar ;; \
      *) echo "DEPENDENCIES is registry or prepared, not $DEPENDENCIES" >&2; exit 1 ;; \
    esac && rm -f dependencies.tar
COPY . .
# An empty folder, for the owner that it gets below.
RUN npm run -s build && npm prune --omit=dev --ignore-scripts --offline && mkdir /data

FROM ${BASE_IMAGE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fitz" \
      org.opencontainers.image.description="A message broker with seven primitives behind one port, kept in SQLite on one volume" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
WORKDIR /opt/fitz
COPY --from=builder /src/package.json ./
COPY --from=builder /src/node_modules ./node_modules
COPY --from=builder /src/cli/fitz.mjs ./cli/
COPY --from=builder /src/dist ./dist
COPY --from=builder --chown=10001:10001 /data /var/lib/fitz
ENV NODE_ENV=production \
    FITZ_BIND_ADDR=0.0.0.0 \
    FITZ_STORAGE_PATH=/var/lib/fitz
USER 10001:10001
VOLUME /var/lib/fitz
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["node", "/opt/fitz/cli/fitz.mjs", "health"]
# Without a shell in between: signals reach the broker, which is the container's first process.
ENTRYPOINT ["node", "/opt/fitz/cli/fitz.mjs"]
CMD ["serve"]
