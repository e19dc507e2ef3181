"""The fixture that puts nginx in front of a server."""

from proxy.front import front as front
