"""Counts requests and deaths, and gives each worker a connection of its own."""

import sqlite3


def on_starting(master):
    master.deaths = 0
    master.log.info("starting with %d workers", master.settings["workers"])


def post_fork(worker):
    # A connection that was made before the fork would be shared.
    worker.database = sqlite3.connect(":memory:", check_same_thread=False)
    worker.database.execute("CREATE TABLE requests (path TEXT, status TEXT, seconds REAL)")


def when_ready(master):
    master.log.info("serving")


def post_request(worker, environ, status, seconds):
    row = (environ["PATH_INFO"], status, seconds)
    worker.database.execute("INSERT INTO requests VALUES (?, ?, ?)", row)


def worker_exit(worker):
    ((count,),) = worker.database.execute("SELECT count(*) FROM requests")
    worker.log.info("worker %d has served %d requests", worker.nr, count)


def child_exit(master, worker, reason):
    if reason != "asked":
        master.deaths += 1
        master.log.warning("worker %d: %s, death number %d", worker.nr, reason, master.deaths)


def reload_failed(master, reason):
    # The place to tell whoever has deployed.
    master.log.error("not deployed: %s", reason)
