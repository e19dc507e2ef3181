"""Makes Gunicorn tell when a worker is ready, which it does not by itself."""


def post_worker_init(worker):
    worker.log.info("ready to serve")
