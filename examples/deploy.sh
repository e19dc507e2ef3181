#!/bin/sh
# Puts a release into service, or leaves the one that serves where it is.
#
#     deploy.sh HOME RELEASE          as in: deploy.sh /srv/shop /srv/shop/releases/2026-11-23
#
# HOME/current is a link to the release that serves, and the server runs there:
#
#     ironhorn --chdir /srv/shop/current shop:app
#
# A release whose import fails never serves: the server goes on with the old one, this script turns
# the link back, so that a worker that is replaced later runs the old one too, and exits with 1.
# If several servers run, name this one in CTL: CTL="ironhorn ctl --socket /run/shop.ctl".
set -eu

home=${1:?"usage: $0 HOME RELEASE"}
release=${2:?"usage: $0 HOME RELEASE"}
ctl=${CTL:-ironhorn ctl}

if [ ! -d "$release" ]; then
    echo "no such release: $release" >&2
    exit 2
fi

# A link is replaced by renaming another over it: there is no moment without one.
switch_to() {
    ln -sfn "$1" "$home/current.new"
    mv -T "$home/current.new" "$home/current"
}

before=$(readlink "$home/current")
switch_to "$release"
# Its words are split on purpose.
if $ctl reload --wait; then
    echo "$(basename "$release") serves"
else
    switch_to "$before"
    echo "$(basename "$release") does not serve; $(basename "$before") goes on" >&2
    exit 1
fi
