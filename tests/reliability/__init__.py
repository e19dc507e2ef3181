"""The same faults, made on real processes of Ironhorn and of other servers: what happens to their
clients, in numbers. Run by scripts/reliability; docs/reliability.md has the result.

- `servers`: an adapter a server: how it is started, configured and reloaded.
- `running`: one server that runs, and its clients.
- `reload`, `recycle`, `requests`, `death`, `endurance`: the faults, one small function each.
- `fault`: what a fault is. `catalogue`: all of them. `table`: what is written.
"""
