"""Golden files: an input manifest and every object that `reranker-operator render` makes of it.

After a change that is meant to change them: `make generate`, and read the diff.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from reranker_operator.cli import main

HERE = Path(__file__).parent
OPERATOR = Path(sys.executable).with_name("reranker-operator")


def render(file: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """The command in this process: there are too many files to start one for each. An exception is not swallowed."""
    result = CliRunner(catch_exceptions=False).invoke(main, ["render", str(file), *flags])
    return subprocess.CompletedProcess(["render"], result.exit_code, result.stdout, result.stderr)


def test_the_installed_command_prints_the_same() -> None:
    file = HERE / "input" / "minimal.yaml"
    started = subprocess.run([OPERATOR, "render", file], capture_output=True, text=True)
    assert (started.returncode, started.stderr) == (0, "")
    assert started.stdout == render(file).stdout


def test_offline_commands_import_no_client_of_the_cluster() -> None:
    """It takes a second, and images without it run these commands too."""
    listed = (
        "import sys\nfrom reranker_operator.cli import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    line = [sys.executable, "-c", listed, "render", str(HERE / "input" / "minimal.yaml")]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert "kind: Deployment" in done.stdout
    assert {"kubernetes", "kopf", "aiohttp"}.isdisjoint(done.stderr.split())


@pytest.mark.parametrize("name", sorted(path.name for path in (HERE / "input").glob("*.yaml")))
def test_render_makes_exactly_the_golden_objects(name: str, request: pytest.FixtureRequest) -> None:
    golden = HERE / "output" / name
    result = render(
        HERE / "input" / name, "--allow-host-path", "/srv/models", "--runtime-image", "example/runtime:test"
    )
    assert result.returncode == 0, result.stderr
    if request.config.getoption("--update-golden"):
        golden.write_text(result.stdout)
    assert list(yaml.safe_load_all(result.stdout)) == list(yaml.safe_load_all(golden.read_text()))


def test_each_golden_output_has_an_input() -> None:
    assert {path.name for path in (HERE / "output").iterdir()} == {path.name for path in (HERE / "input").iterdir()}


@pytest.mark.parametrize("path", sorted((HERE / "refused").glob("*.yaml")), ids=lambda path: path.stem)
def test_render_refuses_in_one_line_that_names_the_field(path: Path) -> None:
    expected = path.read_text().splitlines()[0].removeprefix("# expect: ")
    result = render(path)
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert expected in result.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: !!int abc", "'abc' is no int"),
        ("a: !!int ''", "'' is no int"),
        ("a: !!bool maybe", "'maybe' is no bool"),
        ("a: !!timestamp today", "'today' is no timestamp"),
        ("b: 1\na: 2024-13-45", "'2024-13-45' is no timestamp; write it in quotes if it is text in"),
        ("a: [", "not YAML"),
        ("[" * 3000, "nested too deep"),
        ("kind: RerankerService\nspec: &a {model: *a}", "an alias of itself"),
    ],
)
def test_render_says_in_one_line_what_is_no_yaml(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text(text)
    result = render(tmp_path / "odd.yaml")
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert said in result.stderr


@pytest.mark.parametrize("path", sorted((HERE.parent.parent / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_render_takes_every_example_as_it_is(path: Path) -> None:
    result = render(path, "--allow-host-path", "/srv/models")
    assert result.returncode == 0, result.stderr
    assert any(made["kind"] == "Deployment" for made in yaml.safe_load_all(result.stdout))


PROXY = ("--proxy-https", "http://proxy.example:3128", "--no-proxy", ".example", "--proxy-ca", "authorities")


@pytest.mark.parametrize(
    ("name", "taken"),
    [("hugging-face", True), ("nim-without-cache", True), ("hugging-face-mirror", False), ("minimal", False)],
)
def test_the_operators_proxy_is_for_what_downloads_and_has_none(name: str, taken: bool) -> None:
    file = HERE / "input" / f"{name}.yaml"
    plain, proxied = render(file), render(file, *PROXY)
    assert proxied.returncode == 0
    assert (plain.stdout != proxied.stdout) == taken
    assert all((each in proxied.stdout) == taken for each in ("http://proxy.example:3128", "name: authorities"))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--proxy-https", "proxy.example:3128"], "the operator's default of spec.proxy: https"),
        (["--proxy-ca", "Authorities"], "the operator's default of spec.proxy: caConfigMap.name"),
        (["--proxy-ca", "authorities/a/b"], "the operator's default of spec.proxy: caConfigMap.key"),
        (["--no-proxy", "a b"], "the operator's default of spec.proxy: noProxy"),
    ],
)
def test_a_proxy_that_fits_no_spec_is_refused(flags: list[str], said: str) -> None:
    result = render(HERE / "input" / "hugging-face.yaml", *flags)
    assert (result.returncode, result.stdout) == (2, "")
    assert said in result.stderr


def playground(file: Path) -> str | None:
    """RERANKER_PLAYGROUND of the container that ranks."""
    [made] = [each for each in yaml.safe_load_all(render(file).stdout) if each["kind"] == "Deployment"]
    variables = made["spec"]["template"]["spec"]["containers"][0]["env"]
    return next((each["value"] for each in variables if each["name"] == "RERANKER_PLAYGROUND"), None)


def test_the_playground_is_on_in_the_demo_and_off_elsewhere() -> None:
    assert playground(HERE.parent.parent / "examples" / "quickstart.yaml") == "true"
    assert playground(HERE / "input" / "minimal.yaml") is None


@pytest.mark.parametrize(
    ("flags", "refused"),
    [
        ([], "allows hostPath sources not at all"),
        (["--allow-host-path", "/srv/other"], "allows hostPath sources only below /srv/other"),
        (["--allow-host-path", "/srv/mod"], "allows hostPath sources only below /srv/mod"),
        (["--allow-host-path", "/srv/models"], None),
    ],
)
def test_a_host_path_needs_an_allowed_prefix(flags: list[str], refused: str | None) -> None:
    result = render(HERE / "input" / "host-path.yaml", *flags)
    assert (refused is None) == (result.returncode == 0)
    assert (refused or "") in result.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: Secret\n", "holds no RerankerService"),
        ("a: [1\n", "not YAML"),
        ("", "holds no RerankerService"),
        ("- just\n- a list\n", "holds no RerankerService"),
        ("kind: RerankerService\n", "apiVersion: expected reranking.dev/v1alpha1, found None"),
        ("kind: RerankerService\nmetadata: {generation: x}\n", "metadata.generation: expected a whole number"),
    ],
)
def test_a_file_that_is_no_manifest_is_one_line_and_exit_code_2(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(text)
    result = render(file)
    assert (result.returncode, result.stdout) == (2, "")
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_generation_that_is_null_is_none(tmp_path: Path) -> None:
    minimal = HERE / "input" / "minimal.yaml"
    document = yaml.safe_load(minimal.read_text())
    document["metadata"]["generation"] = None
    file = tmp_path / "file.yaml"
    file.write_text(yaml.safe_dump(document))
    assert render(file).stdout == render(minimal).stdout
