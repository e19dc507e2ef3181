"""What a request costs on Ironhorn and on other servers, side by side; see scripts/bench.

A scenario (`scenarios`) names an app, what is asked of it and what the right answer is. A server
(`servers`) is an adapter that gives a command line. The runner has each server in turn answer each
scenario, several rounds over, checks the answers, and writes raw figures, tables and plots.
"""
