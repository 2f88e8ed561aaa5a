"""What is hidden, and what is left as it is."""

from temporal_fleet.protocol.secrets import HIDDEN, Secrets, environment_secrets

PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG\nAAECAwQ=\n-----END PRIVATE KEY-----\n"


def test_exact_values_are_hidden_also_as_python_shows_them() -> None:
    secrets = Secrets(["hunter2-hunter2", "tab\tand 'quote'", "short"])
    assert secrets.hide("at hunter2-hunter2:5432, short") == f"at {HIDDEN}:5432, short"
    assert secrets.hide(repr(["tab\tand 'quote'"])) == f'["{HIDDEN}"]'


def test_a_rotated_key_is_hidden_beside_the_one_before() -> None:
    secrets = Secrets(["first-api-key"])
    secrets.learn(["first-api-key-longer\n"])
    assert secrets.hide("first-api-key-longer first-api-key") == f"{HIDDEN} {HIDDEN}"


def test_what_is_renewed_again_and_again_is_remembered_for_a_while() -> None:
    secrets = Secrets(["of the environment"])
    tokens = [f"token-number-{number:05}" for number in range(1000)]
    for token in tokens:
        secrets.learn([token])
        secrets.learn([token])
    assert secrets.hide("of the environment") == HIDDEN
    assert [token for token in tokens if secrets.hide(token) == HIDDEN] == tokens[-16:]


def test_a_key_is_hidden_line_by_line_and_its_frame_is_not() -> None:
    shown = Secrets([PEM]).hide("-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG")
    assert shown == f"-----BEGIN PRIVATE KEY-----\n{HIDDEN}"


def test_values_within_values_are_hidden() -> None:
    class Speechless:
        def __repr__(self) -> str:
            raise RuntimeError

    told = Secrets(["hunter2-hunter2"]).hide_in(
        {"a": ["hunter2-hunter2", 5], "hunter2-hunter2": (ValueError("hunter2-hunter2"),), "b": Speechless()}
    )
    assert told == {
        "a": [HIDDEN, 5],
        HIDDEN: [f"ValueError('{HIDDEN}')"],
        "b": "<Speechless whose repr raises RuntimeError>",
    }


def test_what_the_config_says_openly_is_no_secret() -> None:
    environment = {"QUEUE": "orders-queue", "TOKEN": "hunter2-hunter2"}
    assert environment_secrets(environment, ["orders-queue", None]) == ["hunter2-hunter2"]
