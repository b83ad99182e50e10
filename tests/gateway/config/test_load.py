"""A configuration is checked whole: every mistake at once, each with file, line, key and reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.load import load, overridden
from gateway.config.problems import ConfigError
from gateway.config.types import ALL_TASKS
from tests.gateway.config.mistakes import DIGEST, REMOTE, Write, mistakes


def test_a_small_file_has_every_default(write: Write) -> None:
    config = load(write(REMOTE))
    assert config.gateway.listen == "127.0.0.1:8000"
    assert config.gateway.control == "127.0.0.1:9000"
    assert config.gateway.keys == ()
    assert config.models["m"].policy_here == "least_in_flight"
    assert config.models["m"].tasks_here == ALL_TASKS


def test_the_default_configuration_of_the_repository_is_valid() -> None:
    config = load(Path(__file__).parents[3] / "models.toml")
    assert {name: model.engine for name, model in config.models.items()} == {
        "smollm2-135m": "vllm",
        "prompt-guard": "onnx",
        "minilm": "onnx",
    }


def test_all_mistakes_are_told_at_once_with_file_line_key_and_reason(write: Write) -> None:
    path = write(
        '[gateway]\nlisten = "nowhere"\ndrain_timeout = -1\n\n[gateway.limits]\nmax_n = "many"\n\n'
        '[models.m]\nengine = "remote"\nurls = ["http://a"]\nreplica = 2\n'
    )
    assert mistakes(path) == [
        "models.toml:2: gateway.listen: expected HOST:PORT, for example 127.0.0.1:8000 (it is 'nowhere')",
        "models.toml:3: gateway.drain_timeout: input should be greater than or equal to 0 (it is -1)",
        "models.toml:6: gateway.limits.max_n: input should be a valid integer (it is 'many')",
        'models.toml:11: models.m.replica: is not an option; did you mean \'replicas\', of engine = "vllm" or "onnx"?',
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[gatway]\n" + REMOTE, "models.toml:1: gatway: is not an option; did you mean 'gateway'?"),
        ("[gateway]\nlisen = 1\n" + REMOTE, "models.toml:2: gateway.lisen: is not an option; did you mean 'listen'?"),
        (
            "[gateway.limits]\nmax_body = 1\n" + REMOTE,
            "models.toml:2: gateway.limits.max_body: is not an option; did you mean 'max_body_bytes'?",
        ),
        (
            "[gateway.timeouts]\nconect = 1.0\n" + REMOTE,
            "models.toml:2: gateway.timeouts.conect: is not an option; did you mean 'connect'?",
        ),
        (REMOTE + 'url = "x"\n', "models.toml:4: models.m.url: is not an option; did you mean 'urls'?"),
        (REMOTE + "max_queu = 1\n", "models.toml:4: models.m.max_queu: is not an option; did you mean 'max_queue'?"),
        (
            REMOTE + "[models.m.limits]\nmax_queu = 1\n",
            "models.toml:5: models.m.limits.max_queu: is not an option; did you mean 'max_queue'?",
        ),
        (
            f'[[gateway.keys]]\nid = "a"\nsha265 = "{DIGEST}"\nsha256 = "{DIGEST}"\n' + REMOTE,
            "models.toml:3: gateway.keys.0.sha265: is not an option; did you mean 'sha256'?",
        ),
        (
            "[gateway.timeouts]\nzzzz = 1.0\n" + REMOTE,
            "models.toml:2: gateway.timeouts.zzzz: is not an option; known are: receive, keep_alive, queue, connect, "
            "first_byte, between_bytes, total, stalled_client, keep_alive_comment",
        ),
    ],
)
def test_an_unknown_key_suggests_the_nearest_known_one(write: Write, text: str, expected: str) -> None:
    assert mistakes(write(text)) == [expected]


def test_a_model_named_like_a_table_gets_the_suggestions_of_a_model(write: Write) -> None:
    text = '[models.limits]\nengine = "remote"\nurls = ["http://a"]\npolcy = "x"\n'
    assert mistakes(write(text)) == ["models.toml:4: models.limits.polcy: is not an option; did you mean 'policy'?"]


def test_bad_toml_names_line_and_column(write: Write) -> None:
    (line,) = mistakes(write('[gateway]\nlisten = "a\n'))
    assert line.startswith("models.toml:2: is not valid TOML: ")
    assert "line 2, column 12" in line


def test_a_table_without_end_is_a_mistake(write: Write) -> None:
    assert mistakes(write(f"{REMOTE}deep = {'[' * 10_000}")) == ["models.toml: is nested too deeply"]


def test_files_may_begin_as_editors_of_windows_let_them_begin(write: Write, tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text(f"\ufeffalice {DIGEST}\n", encoding="utf-8")
    config = load(write(f'\ufeff[gateway]\nkeys_file = "keys.txt"\n{REMOTE}'))
    assert [key.id for key in config.gateway.keys] == ["alice"]


def test_a_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    (line,) = mistakes(tmp_path / "none.toml")
    assert line == "none.toml: there is no such file; name yours: headgate serve --config FILE, headgate check FILE"


def test_bytes_that_are_no_text_are_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_bytes(b"\xff\xfe")
    (line,) = mistakes(path)
    assert line.startswith("models.toml: ")


def test_no_model_at_all_is_a_mistake(write: Write) -> None:
    assert mistakes(write("")) == ["models.toml: models: is missing; expected: a table `[models.NAME]` for each model"]


@pytest.mark.parametrize(
    ("aliases", "other", "expected"),
    [
        ('["n"]', "[]", "models.toml:4: models.m.aliases: 'n' already names 'n'"),
        ('["m"]', "[]", "models.toml:4: models.m.aliases: 'm' already names 'm'"),
        ('["x"]', '["x"]', "models.toml:8: models.n.aliases: 'x' already names 'm'"),
        ('["x", "x"]', "[]", "models.toml:4: models.m.aliases: 'x' already names 'm'"),
    ],
)
def test_an_alias_names_one_model_only(write: Write, aliases: str, other: str, expected: str) -> None:
    text = f'{REMOTE}aliases = {aliases}\n[models.n]\nengine = "remote"\nurls = ["http://a"]\naliases = {other}\n'
    assert mistakes(write(text)) == [expected]


@pytest.mark.parametrize("name", ["", "a b", "-a", "a\\n", "é", "a" * 201])
def test_names_that_no_model_may_have(write: Write, name: str) -> None:
    assert mistakes(write(f'[models."{name}"]\nengine = "remote"\nurls = ["http://a"]\n'))


def test_keys_come_from_the_file_and_from_a_file_of_keys(write: Write, tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text(f"# who may ask\n\nbob {DIGEST} m  # only this\ncarol {DIGEST[::-1]}\n")
    path = write(f'[gateway]\nkeys_file = "keys.txt"\n[[gateway.keys]]\nid = "alice"\nsha256 = "{"a" * 64}"\n{REMOTE}')
    assert [(key.id, key.sha256, key.models) for key in load(path).gateway.keys] == [
        ("alice", "a" * 64, ()),
        ("bob", DIGEST, ("m",)),
        ("carol", DIGEST[::-1], ()),
    ]


def test_all_mistakes_in_a_file_of_keys_are_told_at_once(write: Write, tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text(f"alone\nbob secret\ncarol {DIGEST} m,none\n")
    lines = mistakes(write(f'[gateway]\nkeys_file = "keys.txt"\n{REMOTE}'))
    assert lines[0] == "keys.txt:1: expected: ID SHA256 [MODEL,MODEL…] [group=NAME]"
    assert lines[1].startswith("keys.txt:2: sha256: ")
    assert lines[2] == "keys.txt:3: models: there is no model 'none'"


def test_a_line_of_a_file_of_keys_names_a_group(write: Write, tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text(f"bob {DIGEST} m group=team\ncarol {DIGEST[::-1]} group=team\n")
    path = write(f'[gateway]\nkeys_file = "keys.txt"\n[gateway.groups.team]\nmodels = ["m"]\n{REMOTE}')
    assert [(key.id, key.models, key.group) for key in load(path).gateway.keys] == [
        ("bob", ("m",), "team"),
        ("carol", (), "team"),
    ]


def test_a_group_in_a_file_of_keys_that_is_not_there_is_told_with_its_line(write: Write, tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text(f"\nbob {DIGEST} group=taem\ncarol {DIGEST[::-1]} group=a group=b\n")
    path = write(f'[gateway]\nkeys_file = "keys.txt"\n[gateway.groups.team]\n{REMOTE}')
    assert mistakes(path) == [
        "keys.txt:2: group: there is no group 'taem' (gateway.groups)",
        "keys.txt:3: expected: ID SHA256 [MODEL,MODEL…] [group=NAME]",
    ]


@pytest.mark.parametrize("text", ["", "\n", f"# alice {DIGEST}\n"])
def test_a_file_of_keys_without_a_key_does_not_let_everyone_in(write: Write, tmp_path: Path, text: str) -> None:
    (tmp_path / "keys.txt").write_text(text)
    named = f'[gateway]\nkeys_file = "keys.txt"\n{REMOTE}'
    expected = "models.toml:2: gateway.keys_file: keys.txt holds no key, and without any everyone may ask"
    assert mistakes(write(named)) == [expected]
    others = f'[[gateway.keys]]\nid = "bob"\nsha256 = "{DIGEST}"\n'
    assert [key.id for key in load(write(named + others)).gateway.keys] == ["bob"]


def test_a_file_of_keys_that_is_not_there(write: Write) -> None:
    (line,) = mistakes(write(f'[gateway]\nkeys_file = "none.txt"\n{REMOTE}'))
    assert line.startswith("models.toml:2: gateway.keys_file: cannot be read: ")


def test_no_key_is_ever_shown(write: Write, tmp_path: Path) -> None:
    secret = "sk-this-is-the-key-itself"
    inline = write(f'[[gateway.keys]]\nid = "a"\nsha256 = "{secret}"\n{REMOTE}')
    assert secret not in "".join(mistakes(inline))
    (tmp_path / "keys.txt").write_text(f"bob {secret}\n")
    assert secret not in "".join(mistakes(write(f'[gateway]\nkeys_file = "keys.txt"\n{REMOTE}')))
    receiver = f'[gateway.tracing]\nendpoint = "http://user:{secret}@127.0.0.1:4318"\n'
    assert secret not in "".join(mistakes(write(receiver + REMOTE)))


def test_a_key_for_a_model_that_is_not_there(write: Write) -> None:
    path = write(f'[[gateway.keys]]\nid = "a"\nsha256 = "{DIGEST}"\nmodels = ["none"]\n{REMOTE}')
    assert mistakes(path) == ["models.toml:1: gateway.keys: the key 'a' names unknown models: none"]


def test_what_is_wrong_between_tables_and_files_is_told_beside_what_is_wrong_within_them(
    write: Write, tmp_path: Path
) -> None:
    (tmp_path / "keys.txt").write_text("alone\n")
    path = write(f'[gateway]\nkeys_file = "keys.txt"\nlisten = 1\n{REMOTE}aliases = ["m"]\n')
    assert mistakes(path) == [
        "models.toml:3: gateway.listen: input should be a valid string (it is 1)",
        "models.toml:7: models.m.aliases: 'm' already names 'm'",
        "keys.txt:1: expected: ID SHA256 [MODEL,MODEL…] [group=NAME]",
    ]


def test_a_key_has_one_id_and_an_id_one_key(write: Write, tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text(f"bob {DIGEST}\nalice {DIGEST[::-1]}\n")
    path = write(f'[gateway]\nkeys_file = "keys.txt"\n[[gateway.keys]]\nid = "alice"\nsha256 = "{DIGEST}"\n{REMOTE}')
    assert mistakes(path) == [
        "models.toml:3: gateway.keys: 'bob' and 'alice' are the same key",
        "models.toml:3: gateway.keys: the id 'alice' is given to two keys",
    ]


def test_the_command_line_replaces_addresses(write: Write) -> None:
    config = overridden(load(write(REMOTE)), listen="0.0.0.0:1", control=None)
    assert (config.gateway.listen, config.gateway.control) == ("0.0.0.0:1", "127.0.0.1:9000")


def test_the_command_line_replaces_the_number_of_processes(write: Write) -> None:
    path = write(f"[gateway]\nprocesses = 3\n{REMOTE}")
    assert overridden(load(path), listen=None, control=None).gateway.processes == 3
    assert overridden(load(path), listen=None, control=None, processes=2).gateway.processes == 2


def test_a_number_of_processes_that_does_not_go_with_the_file_is_told_by_its_option(write: Write) -> None:
    config = load(write(f"[gateway]\nmetrics_at_listen = true\n{REMOTE}"))
    with pytest.raises(ConfigError, match=r"^--processes 2: gateway\.metrics_at_listen: needs processes = 1"):
        overridden(config, listen=None, control=None, processes=2)
    assert overridden(config, listen=None, control=None, processes=1).gateway.metrics_at_listen


def test_a_wrong_address_of_the_command_line_is_told_by_its_option(write: Write) -> None:
    with pytest.raises(ConfigError, match=r"^--control nowhere: expected HOST:PORT"):
        overridden(load(write(REMOTE)), listen=None, control="nowhere")
