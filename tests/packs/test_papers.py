import hashlib
import json
import shutil
from pathlib import Path

import cyclonedx.schema
import jsonschema
import msgspec
import pytest
import yaml
from referencing import Registry, Resource

from aigrid import packs
from aigrid.core.config import Config, ModelConfig
from aigrid.core.errors import AigridError
from aigrid.packs import base, card, recipe, sbom
from aigrid.packs.comparing import compare
from tests.docs.pages import ROOT, blocks


@pytest.fixture
def manifest(make):
    return packs.open(make()).manifest


def schema(name):
    return json.loads((Path(cyclonedx.schema.__file__).parent / "_res" / name).read_text())


def test_the_bill_of_materials_is_cyclonedx_1_6(manifest):
    data = sbom.document(manifest, ["aigrid", "numpy", "msgspec", "Not_Installed", "scikit.learn"])
    assert data == sbom.document(manifest, ["scikit-learn", "not-installed", "msgspec", "numpy", "aigrid"])
    found = json.loads(data)
    names = ("spdx.SNAPSHOT.schema.json", "jsf-0.82.SNAPSHOT.schema.json")
    pieces = [(f"http://cyclonedx.org/schema/{name.replace('.SNAPSHOT', '')}", schema(name)) for name in names]
    registry = Registry().with_resources((uri, Resource.from_contents(piece)) for uri, piece in pieces)
    validator = jsonschema.Draft7Validator(schema("bom-1.6.SNAPSHOT.schema.json"), registry=registry)
    assert [error.message for error in validator.iter_errors(found)] == []
    assert list(validator.iter_errors({**found, "specVersion": 1}))
    kinds = {component["name"]: component["type"] for component in found["components"]}
    assert kinds["numpy"] == "library"
    assert kinds["tiny"] == "machine-learning-model"
    assert kinds["questions"] == "data"
    assert next(entry for entry in found["components"] if entry["name"] == "tiny")["hashes"] == [
        {"alg": "SHA-256", "content": "ab" * 32}
    ]


def test_what_this_process_has_imported_is_known():
    assert {"msgspec", "pytest"} <= set(sbom.used())
    assert "torch" not in sbom.used()


def test_the_card_has_the_front_matter_that_hugging_face_reads(manifest):
    front, _, text = card.render(manifest, "More about it.").removeprefix("---\n").partition("\n---\n")
    said = yaml.safe_load(front)
    assert said["license"] == "apache-2.0"
    assert said["base_model"] == "tiny"
    assert said["datasets"] == ["questions"]
    (result,) = said["model-index"][0]["results"]
    assert set(result) == {"task", "dataset", "metrics"}
    assert result["metrics"][0] == {"type": "accuracy", "name": "accuracy", "value": 0.9}
    assert "| accuracy | 0.9 | 0.88 to 0.92 | 500 | 0.7 |" in text
    assert "More about it." in text


def test_two_packs_side_by_side(make, tmp_path):
    (tmp_path / "tool.json").write_text("{}")
    one = packs.open(make())
    two = packs.open(
        make(
            version="2.0",
            weights=b"better",
            more={"tools": tmp_path / "tool.json"},
            runtime={"engine": "openvino", "classes": ["a", "b"]},
            evidence=(packs.Figure("accuracy", 0.95), packs.Figure("latency", 4.0, unit="ms")),
        )
    )
    found = compare(one, two)
    assert {(field.name, field.before, field.after) for field in found.fields} == {
        ("version", "1.0", "2.0"),
        ("runtime.engine", "linear", "openvino"),
    }
    assert [(file.path, file.change) for file in found.files] == [
        ("tools/tool.json", "added"),
        ("weights/model.json", "changed"),
    ]
    assert [(figure.name, figure.gain and round(figure.gain, 9)) for figure in found.evidence] == [
        ("accuracy", 0.05),
        ("latency", None),
    ]
    assert compare(one, one).fields == compare(one, one).files == ()


def test_the_base_model_is_found_by_its_digest(tmp_path):
    model = tmp_path / "own.gguf"
    model.write_bytes(b"GGUF and more")
    right = "sha256:" + hashlib.sha256(model.read_bytes()).hexdigest()
    assert base.find(packs.Base("own", right, f"file:{model}"), Config()) == model
    with pytest.raises(AigridError, match="SHA-256"):
        base.find(packs.Base("own", "sha256:" + "0" * 64, f"file:{model}"), Config())
    here = Config(models=[ModelConfig(id="mine", source=f"file:{model}", sha256=right[7:])])
    elsewhere = packs.Base("own", right, "hf:nobody/nothing/own.gguf")
    assert base.model(elsewhere, here).path == model
    assert base.find(elsewhere, here) == model
    (tmp_path / "folder").mkdir()
    with pytest.raises(packs.PackError, match="is a folder"):
        base.find(packs.Base("own", right, f"file:{tmp_path / 'folder'}"), Config())


def test_a_recipe_makes_a_pack_with_its_papers(tmp_path, monkeypatch):
    (tmp_path / "model.json").write_text("{}")
    text = 'name = "x"\nversion = "1"\nkind = "guard"\nsoftware = ["numpy"]\n[files]\nweights = "model.json"\n'
    (tmp_path / "pack.toml").write_text(text)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    first = recipe.make(recipe.load(tmp_path / "pack.toml"), tmp_path / "one")
    assert first == recipe.make(recipe.load(tmp_path / "pack.toml"), tmp_path / "two")
    pack = packs.open(tmp_path / "one")
    assert pack.manifest.created == "2026-01-01T00:00:00Z"
    assert b"numpy" in pack.read("sbom")
    assert pack.read("card").startswith(b"---\n")


def test_the_recipe_and_the_program_of_the_documentation_work(tmp_path, monkeypatch):
    whole, base_only = blocks("ini", [ROOT / "docs/how-to/packs.md"])
    (tmp_path / "pack.toml").write_text(whole.text + base_only.text)
    (tmp_path / "prompts").mkdir()
    (tmp_path / "out").mkdir()
    for name in ("router.npz", "prompts/ask.txt", "out/report.json"):
        (tmp_path / name).write_text("{}")
    plan = recipe.load(tmp_path / "pack.toml")
    recipe.make(plan, tmp_path / "pack")
    pack = packs.open(tmp_path / "pack")
    assert [file.path for file in pack.manifest.of_role("evidence")] == ["evidence/report.json"]
    assert pack.manifest.base.name == "SmolLM2-135M-Instruct"
    monkeypatch.chdir(tmp_path)
    shutil.rmtree("out")
    (program,) = blocks("python", [ROOT / "docs/reference/packs.md"])
    exec(compile(program.text, "docs/reference/packs.md", "exec"), {})
    assert packs.Shelf().get("intent-router").read("weights") == b"{}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "files"),
        ("name = 1\n[files]\nweights = 'x'", "name"),
        ("name = 'x'\nversion='1'\nkind='spoon'\n[files]\nweights = 'x'", "kind"),
        ("name = 'x'\nversion='1'\nkind='model'\nwhat=1\n[files]\nweights = 'x'", "what"),
        ("= 1", "cannot be read"),
    ],
)
def test_a_wrong_recipe_is_told_what_is_wrong(tmp_path, text, message):
    (tmp_path / "pack.toml").write_text(text)
    with pytest.raises(AigridError, match=message):
        recipe.load(tmp_path / "pack.toml")


def test_evidence_survives_json(manifest):
    assert msgspec.json.decode(msgspec.json.encode(manifest), type=packs.Manifest) == manifest
