"""The setting `reload`: an edit is served, without anybody asking for it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from harness import Load, Stage, wait_until
from harness.process import holds_for

pytestmark = pytest.mark.ironhorn("has another way to watch")

BROKEN = ("boot failed", "reload failed", "worker died", "Traceback", "start failed")


@pytest.mark.parametrize("way", ["write", "replace"])
def test_an_edit_of_a_module(project, way: str) -> None:
    server = project.serve(workers=2)
    project.wait_answer(server, "one")
    with Load(server.address, keep_alive=2, one_request=2) as load:
        load.wait_more(10)
        getattr(project, way)("greeting.py", "TEXT = 'two'\n")
        project.wait_answer(server, "two")
        server.log.wait_for_line(rf"sources changed path={project.root}/greeting\.py")
        project.wait_reloads(server, 1)
    load.stop().assert_none_failed()
    assert len(os.listdir(f"/proc/{server.pid}/task")) == 1


def test_an_edit_of_a_template(project) -> None:
    project.write("templates/page.html", ", page")
    server = project.serve()
    project.wait_answer(server, "one, page")
    project.write("templates/page.html", ", another page")
    project.wait_answer(server, "one, another page")


def test_an_edit_of_an_extra_file(project, tmp_path_factory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    project.write("greeting.py", "TEXT = open('words.txt').read() + open('../words.txt').read()\n")
    project.write("words.txt", "a")
    (project.root.parent / "words.txt").write_text("b")
    (outside / "data").mkdir()
    server = project.serve(
        f"--reload-extra-file=words.txt,{outside}", "--reload-extra-file", "../words.txt"
    )
    project.wait_answer(server, "ab")
    project.write("words.txt", "c")
    project.wait_answer(server, "cb")
    (project.root.parent / "words.txt").write_text("d")
    project.wait_answer(server, "cd")
    mark = server.log.mark()
    (outside / "data" / "prices.csv").write_text("1")
    server.log.wait_for_line(r"\breloaded\b", 20, since=mark)


def test_an_edit_of_a_module_outside_of_the_tree(project, tmp_path_factory) -> None:
    """It is known since a worker has imported it."""
    outside = tmp_path_factory.mktemp("outside")
    (outside / "words").mkdir()
    (outside / "words" / "__init__.py").write_text("TEXT = 'a'\n")
    project.write("greeting.py", "from words import TEXT\n")
    # Not by the setting: that is watched in any case.
    server = project.serve(env={"PYTHONPATH": f"{outside}:{Path(__file__).parents[1] / 'apps'}"})
    project.wait_answer(server, "a")
    (outside / "words" / "__init__.py").write_text("TEXT = 'b'\n")
    project.wait_answer(server, "b")
    server.allow_log(*BROKEN)
    (outside / "words" / "__init__.py").write_text("TEXT = \n")
    server.log.wait_for_line("reload failed", 20)
    (outside / "words" / "__init__.py").write_text("TEXT = 'c'\n")
    project.wait_answer(server, "c")


def test_a_directory_of_pythonpath(project, tmp_path_factory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "package").mkdir()
    server = project.serve(pythonpath=outside)
    project.wait_answer(server, "one")
    (outside / "package" / "new.py").write_text("")
    project.wait_reloads(server, 1)


def test_code_that_is_broken(project) -> None:
    server = project.serve(workers=2)
    server.allow_log(*BROKEN)
    before = server.wait_workers(2)
    project.write("greeting.py", "TEXT = \n")
    server.log.wait_for_line("reload failed", 20)
    assert server.log.matching("^SyntaxError")
    assert server.log.matching(r"greeting\.py")
    assert server.get("/").body == b"one"
    wait_until(lambda: server.workers() == before)
    project.write("greeting.py", "raise ValueError('not yet')\n")
    server.log.wait_for_line("^ValueError: not yet", 20)
    server.log.wait_for_line("reload failed", 20, count=2)
    assert server.get("/").body == b"one"
    project.write("greeting.py", "TEXT = 'three'\n")
    project.wait_answer(server, "three")


def test_code_that_is_broken_at_start(project) -> None:
    project.write("greeting.py", "TEXT = \n")
    server = project.serve(ready=False)
    server.allow_log(*BROKEN)
    server.log.wait_for_line("^SyntaxError", 20)
    with server.connect(30) as wire:
        # It waits in the kernel's queue until somebody serves.
        wire.get("/")
        project.write("greeting.py", "TEXT = 'mended'\n")
        assert wire.read_response().body == b"mended"
    server.assert_running()
    project.write("greeting.py", "TEXT = 'edited'\n")
    project.wait_answer(server, "edited")


def test_an_app_that_is_not_there_at_start(project) -> None:
    (project.root / "app.py").rename(project.root / "later")
    server = project.serve(ready=False)
    server.allow_log(*BROKEN)
    server.log.wait_for_line("cannot find the module app", 20)
    (project.root / "later").rename(project.root / "app.py")
    project.wait_answer(server, "one")


def test_many_writes_are_few_reloads(project) -> None:
    server = project.serve()
    for number in range(200):
        project.write(f"module{number % 20}.py", f"NUMBER = {number}\n")
    project.write("greeting.py", "TEXT = 'last'\n")
    project.wait_answer(server, "last")
    assert 1 <= len(server.log.matching(r"\breloading\b")) <= 5


def test_new_files_and_directories(project) -> None:
    server = project.serve()
    project.write(
        "greeting.py",
        "try:\n    from words.more import TEXT\nexcept ImportError:\n    TEXT = 'none'\n",
    )
    project.wait_answer(server, "none")
    project.write("words/more.py", "TEXT = 'new'\n")
    project.wait_answer(server, "new")
    project.write("words/more.py", "TEXT = 'newer'\n")
    project.wait_answer(server, "newer")
    shutil.rmtree(project.root / "words")
    project.wait_answer(server, "none")


def test_what_is_no_source_is_left_alone(project) -> None:
    (project.root / ".git").mkdir()
    server = project.serve()
    (worker,) = server.workers()
    project.write("database.sqlite3", "x")
    project.write(".git/index.py", "x")
    project.write("__pycache__/app.py", "x")
    project.write("app.py~", "x")
    project.write(".app.py.swp", "x")
    holds_for(lambda: not server.log.matching("sources changed"), 0.5)
    assert server.workers() == [worker]


def test_another_directory_in_the_place_of_the_one_that_is_served(project) -> None:
    """As a deployment does that has the new sources ready beside the old ones."""
    server = project.serve()
    project.wait_answer(server, "one")
    new = project.root.with_name("new")
    shutil.copytree(project.root, new, ignore=shutil.ignore_patterns("__pycache__"))
    (new / "greeting.py").write_text("TEXT = 'two'\n")
    project.root.rename(project.root.with_name("old"))
    new.rename(project.root)
    project.wait_answer(server, "two")
    project.write("greeting.py", "TEXT = 'three'\n")
    project.wait_answer(server, "three")


def test_with_preload(project) -> None:
    server = project.serve(preload=True, workers=2)
    server.allow_log(*BROKEN, "zygote died")
    project.wait_answer(server, "one")
    project.write("greeting.py", "TEXT = 'two'\n")
    project.wait_answer(server, "two")
    project.write("greeting.py", "TEXT = \n")
    server.log.wait_for_line("reload failed", 20)
    assert server.get("/").body == b"two"
    project.write("greeting.py", "TEXT = 'three'\n")
    project.wait_answer(server, "three")


def test_a_reload_begins_and_ends_it(stage: Stage, project) -> None:
    """The setting may come and go in the file, as any other."""
    settings = project.root / "ironhorn.yaml"
    settings.write_text("reload: false\n")
    server = project.serve("-c", str(settings), reload=None)
    project.wait_answer(server, "one")
    project.write("greeting.py", "TEXT = 'two'\n")
    holds_for(lambda: not server.log.matching("sources changed"), 0.3)
    settings.write_text("reload: true\n")
    server.send(1)
    project.wait_reloads(server, 1)
    project.wait_answer(server, "two")
    project.write("greeting.py", "TEXT = 'three'\n")
    project.wait_answer(server, "three")
    settings.write_text("reload: false\n")
    server.send(1)
    project.wait_reloads(server, 3)
    mark = server.log.mark()
    project.write("greeting.py", "TEXT = 'four'\n")
    holds_for(lambda: not server.log.matching("sources changed", mark), 0.3)


def test_an_extra_file_whose_directory_comes_later(project) -> None:
    project.write("greeting.py", "TEXT = 'one'\n")
    server = project.serve("--reload-extra-file=../later/words.txt")
    assert server.log.matching(r"WARN .*reload_extra_files: .*/later/words.txt: its directory")
    later = project.root.parent / "later"
    later.mkdir()
    (later / "words.txt").write_text("a")
    server.log.wait_for_line(r"sources changed path=.*/later/words.txt")
    server.log.wait_for_line(r"\breloaded\b")
