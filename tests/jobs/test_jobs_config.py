"""The grammar of tuning configs."""

from __future__ import annotations

import itertools
import math
import shlex
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnas.errors import ConfigError
from dnas.jobs.config import expand, load_config, parse_config, template_hash
from dnas.jobs.tokens import fill, has_token
from dnas.runs import SAMPLED, SUPERNET

LISTING_3 = """\
python train_dnas.py
--search_space=emb_card
--embedding_dimension 32
--cardinality_options 1.0 0.1 0.01 0.001
--experiment_id=SAVE_METRICS_PARAM
--host_gpu_id=GPU_ID_PARAM
--weights_lr={0.25, 0.5, 1.0, 1.5, 2.0}
--save_metrics_param=SAVE_METRICS_PARAM
--memory_map
GPU_IDS:0,1,2,3,4
NUM_JOBS_PER_GPU:1
EPOCH_EVAL_FREQ:5,5
"""
SAVE = "--s=SAVE_METRICS_PARAM"


def config_text(arguments: str, keys: str = "GPU_IDS:0") -> str:
    return f"python x.py {SAVE}\n{arguments}\n{keys}\n"


def argvs(arguments: str) -> list[list[str]]:
    """What the arguments expand to, without the three words before them."""
    return [list(spec.argv[3:]) for spec in expand(parse_config(config_text(arguments)))]


def test_the_papers_listing_3_parses_as_printed() -> None:
    config = parse_config(LISTING_3, "listing3")
    jobs = expand(config)
    assert config.gpu_ids == ("0", "1", "2", "3", "4")
    assert config.num_jobs_per_gpu == 1
    assert config.epoch_eval_freq == (5, 5)
    assert config.kind == SUPERNET
    assert [dict(job.settings) for job in jobs] == [
        {"weights_lr": lr} for lr in ("0.25", "0.5", "1.0", "1.5", "2.0")
    ]
    assert jobs[1].argv == (
        "python", "train_dnas.py", "--search_space=emb_card", "--embedding_dimension", "32",
        "--cardinality_options", "1.0", "0.1", "0.01", "0.001",
        "--experiment_id=SAVE_METRICS_PARAM", "--host_gpu_id=GPU_ID_PARAM", "--weights_lr=0.5",
        "--save_metrics_param=SAVE_METRICS_PARAM", "--memory_map",
    )  # fmt: skip


def test_arguments_on_one_line_are_the_same_jobs() -> None:
    lines = LISTING_3.splitlines()
    joined = "\n".join([lines[0], " ".join(lines[1:9]), *lines[9:]])
    assert expand(parse_config(joined)) == expand(parse_config(LISTING_3))
    assert template_hash(parse_config(joined)) == template_hash(parse_config(LISTING_3))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--a 1", [["--a", "1"]]),
        ("--a={1,2}", [["--a=1"], ["--a=2"]]),
        ("--a={1, 2}", [["--a=1"], ["--a=2"]]),
        ("--a={ 1 ,  2 }", [["--a=1"], ["--a=2"]]),
        ("--a={1}", [["--a=1"]]),
        ("{--flag, }", [["--flag"], []]),
        ("{, --flag}", [[], ["--flag"]]),
        ("{--a=1, --b 2, }", [["--a=1"], ["--b", "2"], []]),
        ("--o {1.0 0.1, 1.0 0.01 0.001}", [["--o", "1.0", "0.1"], ["--o", "1.0", "0.01", "0.001"]]),
        ("--o={1 2, 3}x", [["--o=1", "2x"], ["--o=3x"]]),
        ("--a={1,2}{3,4}", [["--a=13"], ["--a=14"], ["--a=23"], ["--a=24"]]),
        ("--p=/d/{x,y}/f", [["--p=/d/x/f"], ["--p=/d/y/f"]]),
        ("--a={1,\n 2,\n3}", [["--a=1"], ["--a=2"], ["--a=3"]]),
        ("--a={1,\n# not this one\n2}", [["--a=1"], ["--a=2"]]),
        ("--a='b c'", [["--a=b c"]]),
        ('--a "b c"\'d\'', [["--a", "b cd"]]),
        ("--a={'1, 2', \"3,4\"}", [["--a=1, 2"], ["--a=3,4"]]),
        ("--a '{1, 2}'", [["--a", "{1, 2}"]]),
        ("--a \\{1\\}", [["--a", "{1}"]]),
        ("--a={'{x}', y}", [["--a={x}"], ["--a=y"]]),
        ("--a=''", [["--a="]]),
        ("--a ''", [["--a", ""]]),
        ("--a={'', b}", [["--a="], ["--a=b"]]),
        ("--a={'x y' z, w}", [["--a=x y", "z"], ["--a=w"]]),
        ("--a '$HOME; #1'", [["--a", "$HOME; #1"]]),
        ("--a 'it'\\''s'", [["--a", "it's"]]),
        ('--a "say \\"x\\""', [["--a", 'say "x"']]),
        ("--a \\\n--b", [["--a", "--b"]]),
        ("--a x#1 s3://d/~u", [["--a", "x#1", "s3://d/~u"]]),
        ("--a 1,2", [["--a", "1,2"]]),
    ],
)  # fmt: skip
def test_words_quotes_and_braces(arguments: str, expected: list[list[str]]) -> None:
    assert argvs(arguments) == expected


def test_lists_that_read_the_same_are_two_dimensions() -> None:
    assert argvs("--w={.01, .02} --a={.01, .02}") == [
        ["--w=.01", "--a=.01"],
        ["--w=.01", "--a=.02"],
        ["--w=.02", "--a=.01"],
        ["--w=.02", "--a=.02"],
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--a={1,2}", {"a": "1"}),
        ("--a {1 2,3}", {"a": "1 2"}),
        ("{--flag, }", {"flag": "true"}),
        ("{, --flag}", {"flag": "false"}),
        ("{--a=1, --b=2, }", {"a": "--a=1"}),
        ("--a={1,2} --b={1,2}", {"a": "1", "b": "1"}),
        ("--a={1,2}{3,4}", {"a": "1", "a_2": "3"}),
        ("--a {1,2} {3,4}", {"a": "1", "a_2": "3"}),
        ("--a=1", {}),
    ],
)
def test_settings_are_named_by_their_flag(arguments: str, expected: dict[str, str]) -> None:
    assert dict(expand(parse_config(config_text(arguments)))[0].settings) == expected


def test_a_brace_before_any_flag_has_a_name_too() -> None:
    spec = expand(parse_config("python {a.py,b.py} --s=SAVE_METRICS_PARAM\nGPU_IDS:0"))[1]
    assert dict(spec.settings) == {"argument": "b.py"}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (config_text("--a={1,2"), 2, "never closed"),
        (config_text("--a={1,\n2\n--b={3}"), 4, "opened on line 2"),
        (config_text("--a={1,{2,3}}"), 2, "cannot be nested"),
        (config_text("--a=1}"), 2, "'}' without '{'"),
        (config_text("--a={}"), 2, "lists no alternative"),
        (config_text("--a={1, 2, 1}"), 2, "'1' twice"),
        (config_text("{, }"), 2, "(nothing)' twice"),
        (config_text("--a={1, 2, }"), 2, "without a value"),
        (config_text("--a='b"), 2, '"\'b" is not closed'),
        (config_text('--a={"b, c}'), 2, "is not closed"),
        (config_text("--a $HOME"), 2, "'$' inserts a variable"),
        (config_text('--a "$HOME"'), 2, "'$' in double quotes"),
        (config_text("--a x; rm y"), 2, "';' ends a command"),
        (config_text("--a x | tee y"), 2, "'|'"),
        (config_text("--a > log"), 2, "'>'"),
        (config_text("--url=h?a=1&b=2"), 2, "'&'"),
        (config_text("--a `x`"), 2, "'`'"),
        (config_text("--a 1 # why"), 2, "a line of its own"),
        (config_text("--a ~/x"), 2, "'~' is not expanded"),
        (config_text("", "GPUS:0"), 3, "unknown key 'GPUS' (did you mean GPU_IDS?)"),
        (config_text("", "gpu_ids:0"), 3, "unknown key 'gpu_ids' (did you mean GPU_IDS?)"),
        (config_text("", "SEED:0"), 3, "valid keys: GPU_IDS"),
        (config_text("", "GPU_IDS:0\nGPU_IDs:1"), 4, "already given on line 3"),
        (config_text("", "GPU_IDS:0\n--late"), 4, "'--late' comes after the keys"),
        (config_text("", "GPU_IDS:0\nNUM_GPUS_PER_JOB:x"), 4, "'x' is not a whole number of 0 or"),
        (config_text("", "GPU_IDS:0\nNUM_CPUS_PER_JOB:0"), 4, "'0' is not a whole number of 1 or"),
        (
            config_text("", "GPU_IDS:0,1\nNUM_JOBS_PER_GPU:2\nNUM_GPUS_PER_JOB:2"),
            5,
            "contradict each other",
        ),
        (config_text("", "GPU_IDS:"), 3, "'' is not a device"),
        (config_text("", "GPU_IDS:0,,1"), 3, "'' is not a device"),
        (config_text("", "GPU_IDS:0 1"), 3, "'0 1' is not a device"),
        (config_text("", "GPU_IDS:-1"), 3, "'-1' is not a device"),
        (config_text("", "GPU_IDS:CPU"), 3, "'CPU' is not a device"),
        (config_text("", "GPU_IDS:0,1,00"), 3, "GPU 0 is listed twice"),
        (config_text("", "GPU_IDS:0\nNUM_JOBS_PER_GPU:0"), 4, "NUM_JOBS_PER_GPU:0"),
        (config_text("", "GPU_IDS:0\nNUM_JOBS_PER_GPU:1.5"), 4, "'1.5' is not a whole number"),
        (config_text("", "GPU_IDS:0\nNUM_JOBS_PER_GPU:"), 4, "NUM_JOBS_PER_GPU:"),
        (config_text("", "GPU_IDS:0\nEPOCH_EVAL_FREQ:5"), 4, "max,freq"),
        (config_text("", "GPU_IDS:0\nEPOCH_EVAL_FREQ:5,x"), 4, "'x' is not a whole number"),
        ("python x.py\nGPU_IDS:0\n", 1, "SAVE_METRICS_PARAM is missing from the command"),
        ("python x.py {--s=SAVE_METRICS_PARAM, }\nGPU_IDS:0\n", 1, "missing from the job with s="),
        (config_text("--g=GPU_PARAM"), 2, "unknown token 'GPU_PARAM'"),
        (config_text("--g={1, SAMPLED_ARCHS_PARAM}"), 2, "did you mean SAMPLED_ARCH_PARAM?"),
        (config_text("--e=REPLACE_WITH_GLOBAL_EXPERIMENT_ID"), 2, "unknown token"),
        ("REPLACE_WITH_PYTHON_CMD x.py\nGPU_IDS:0\n", 1, "write python"),
        ("", 1, "there is no command"),
        ("# only this\n", 1, "there is no command"),
        ("GPU_IDS:0\n", 1, "there is no command"),
        ("# c\n\n--a=1\nGPU_IDS:0\n", 3, "'--a=1' is not a command"),
        ("{a,b} SAVE_METRICS_PARAM\nGPU_IDS:0\n", 1, "is not a command"),
        (config_text("--a={1,2,3,4,5,6,7,8,9,10}" * 6), 1, "1,000,000 jobs"),
    ],
)
def test_a_mistake_names_file_line_and_token(text: str, line: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "my/config")
    assert str(caught.value).startswith(f"my/config:{line}: ")
    assert message in str(caught.value)


def test_comments_blank_lines_and_both_spellings() -> None:
    text = "# data\n#cost\n\npython x.py\n  # n\n--s=SAVE_METRICS_PARAM\n\nGPU_IDs: cpu , cpu\n"
    config = parse_config(text)
    assert config.gpu_ids == ("cpu", "cpu")
    assert config.num_jobs_per_gpu == 1
    assert config.epoch_eval_freq is None
    assert config.lines == ((4, "python x.py"), (6, "--s=SAVE_METRICS_PARAM"))


def test_uuids_and_cpu_may_be_mixed() -> None:
    keys = "GPU_IDS:1,GPU-8f6b-11,cpu\nNUM_JOBS_PER_GPU:2"
    assert parse_config(config_text("", keys)).gpu_ids == ("1", "GPU-8f6b-11", "cpu")


def test_the_kind_comes_from_the_script_or_the_token() -> None:
    assert parse_config(config_text("--a")).kind == SUPERNET
    assert parse_config(config_text("--a={x,SAMPLED_ARCH_PARAM}")).kind == SAMPLED
    sampled = parse_config("python -u d/train_sampled.py SAVE_METRICS_PARAM\nGPU_IDS:0")
    assert sampled.kind == SAMPLED
    assert expand(sampled)[0].kind == SAMPLED
    assert expand(sampled, SUPERNET)[0].kind == SUPERNET


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone: cannot read .*No such file"):
        load_config(tmp_path / "gone")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="binary: cannot read"):
        load_config(tmp_path / "binary")


def test_a_file_is_read_and_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "config"
    data = b"\xef\xbb\xbf" + LISTING_3.replace("\n", "\r\n").encode()
    path.write_bytes(data)
    assert expand(load_config(path)) == expand(parse_config(LISTING_3))
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("word", "filled"),
    [
        ("EXPERIMENT_ID", "e1"),
        ("--x=EXPERIMENT_ID", "--x=e1"),
        ("a/EXPERIMENT_ID/EXPERIMENT_ID.csv", "a/e1/e1.csv"),
        ("MY_EXPERIMENT_ID", "MY_EXPERIMENT_ID"),
        ("EXPERIMENT_IDS", "EXPERIMENT_IDS"),
        ("EXPERIMENT_ID2", "EXPERIMENT_ID2"),
        ("EXPERIMENT_ID-HOST_GPU_ID", "e1-EXPERIMENT_ID"),
    ],
)
def test_tokens_are_filled_between_other_characters_and_once(word: str, filled: str) -> None:
    values = {"EXPERIMENT_ID": "e1", "HOST_GPU_ID": "EXPERIMENT_ID"}
    assert fill(word, values) == filled
    assert has_token(word, "EXPERIMENT_ID") == (word != filled)


def test_fill_without_values_changes_nothing() -> None:
    assert fill("a EXPERIMENT_ID", {}) == "a EXPERIMENT_ID"


def test_the_hash_tells_job_lists_apart_and_ignores_devices() -> None:
    base = template_hash(parse_config(config_text("--a={1, 2}")))
    assert template_hash(parse_config(config_text("--a={1,2}", "GPU_IDS:cpu"))) == base
    for other in ("--a={1, 3}", "--a={2, 1}", "--a=1", "--a {1, 2}", "--a={'1, 2'}"):
        assert template_hash(parse_config(config_text(other))) != base


_values = st.text("abc0189._-", min_size=1, max_size=4)
_lists = st.lists(_values, min_size=1, max_size=4, unique=True)


@settings(max_examples=80, deadline=None)
@given(st.lists(_lists, min_size=0, max_size=4), st.sampled_from([",", ", ", " , ", ",\n"]))
def test_the_product_is_complete_and_every_job_is_another(
    lists: list[list[str]], comma: str
) -> None:
    arguments = " ".join(f"--f{i}={{{comma.join(v)}}}" for i, v in enumerate(lists))
    config = parse_config(config_text(arguments))
    specs = expand(config)
    assert config.num_jobs == len(specs) == math.prod(len(values) for values in lists)
    expected = [
        tuple(f"--f{i}={v}" for i, v in enumerate(choice)) for choice in itertools.product(*lists)
    ]
    assert [spec.argv[3:] for spec in specs] == expected
    assert len({spec.identity for spec in specs}) == len(specs)
    assert len({spec.name(index) for index, spec in enumerate(specs)}) == len(specs)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=8),
        max_size=5,
    )
)
def test_quoted_words_come_back_as_they_were(words: list[str]) -> None:
    # Tokens and line ends aside, what shlex quotes is what we read.
    arguments = " ".join(["--words", *(shlex.quote(word) for word in words)])
    assert argvs(arguments) == [["--words", *words]]
