import json


def rows(count, **body):
    return "\n".join(
        json.dumps(
            {
                "custom_id": f"r{at}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {
                    "model": "echo", "messages": [{"role": "user", "content": f"word{at}"}], "max_tokens": 2, **body,
                },
            }
        )
        for at in range(count)
    )  # fmt: skip


def test_a_batch_goes_in_and_comes_back(aigrid, in_factory, tmp_path):
    file = tmp_path / "in.jsonl"
    file.write_text(rows(5))
    made = aigrid("batch", "submit", str(file), "--yes", "--wait", "--json").json
    assert (made["status"], made["request_counts"]["completed"]) == ("completed", 5)
    assert made["quote"]["cost_bound_nusd"] >= made["aigrid"]["cost_nusd"] > 0
    id_ = made["id"]
    assert id_ in [each["id"] for each in aigrid("batch", "list", "--json").json["data"]]
    assert "5 of 5 answered, 0 failed" in aigrid("batch", "status", id_).out
    lines = [json.loads(line) for line in aigrid("batch", "results", id_).out.splitlines()]
    assert [line["custom_id"] for line in lines] == [f"r{at}" for at in range(5)]
    out = tmp_path / "out.jsonl"
    assert aigrid("batch", "results", id_, "--out", str(out), "--json").json["lines"] == 5
    assert len(out.read_text().splitlines()) == 5
    assert aigrid("batch", "cancel", id_).code == 1


def test_without_anybody_to_agree_the_price_is_said_and_nothing_is_made(aigrid, in_factory, tmp_path):
    file = tmp_path / "in.jsonl"
    file.write_text(rows(3))
    before = aigrid("batch", "list", "--json").json["data"]
    refused = aigrid("batch", "submit", str(file), "--json")
    assert refused.code == 1
    assert refused.json["error"]["code"] == "not_agreed"
    assert "3 requests, at most 6 tokens in their answers: at most $0.0000" in refused.json["error"]["message"]
    assert aigrid("batch", "list", "--json").json["data"] == before


def test_a_file_that_is_wrong_is_refused_before_it_is_a_batch(aigrid, in_factory, tmp_path):
    file = tmp_path / "in.jsonl"
    file.write_text(rows(1) + "\n" + rows(1))
    refused = aigrid("batch", "submit", str(file), "--yes")
    assert refused.code == 1
    assert "line 2" in refused.err
    assert "custom_id" in refused.err
    file.write_text("not json")
    assert "name one with --endpoint" in aigrid("batch", "submit", str(file), "--yes").err


def test_a_batch_that_runs_can_be_cancelled(aigrid, in_factory, tmp_path):
    file = tmp_path / "in.jsonl"
    file.write_text(rows(2).replace("word0", "[echo tokens=2 rate=0.1] x"))
    made = aigrid("batch", "submit", str(file), "--yes", "--json").json
    assert aigrid("batch", "cancel", made["id"], "--json").json["status"] == "cancelling"
    assert aigrid("batch", "status", made["id"], "--wait", "--json").json["status"] == "cancelled"
