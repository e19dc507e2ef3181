"""Steady load on a server that is reloaded, resized, recycled and killed all the time: nobody but
the clients of killed workers may notice, and nothing may grow. Run by scripts/soak; a short form is
a chaos test.
"""
