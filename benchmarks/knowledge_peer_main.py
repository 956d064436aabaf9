"""The peer of `knowledge_speed`, run in an environment of its own: docling, sentence-transformers and LlamaIndex.

Reads one JSON task from stdin and writes one JSON answer to stdout; needs nothing of this project. Everything is as
these projects recommend it where a choice is not forced: docling's converter for each format, its HybridChunker with
the embedding model's tokeniser and context, one call of `encode` for all chunks (which sorts them by length),
LlamaIndex's `VectorStoreIndex` over its default store in memory. PDF goes through docling's native pipeline, its
quickest: text without layout analysis, whose models are not here.
"""

import importlib.metadata
import json
import logging
import os
import sys
import time
from typing import Any

MOST_TOKENS = 256
TOP = 10
DEEP = 50
PACKAGES = ("docling", "docling-core", "sentence-transformers", "llama-index-core", "torch")


class Peer:
    """Files in, an index out; seconds by stage in `spent`."""

    def __init__(self, model: str) -> None:
        began = time.monotonic()
        from docling.datamodel.base_models import InputFormat
        from docling.document_converter import DocumentConverter, NativePdfFormatOption
        from docling_core.transforms.chunker.hybrid_chunker import HybridChunker
        from docling_core.transforms.chunker.tokenizer.huggingface import HuggingFaceTokenizer
        from llama_index.core.base.embeddings.base import BaseEmbedding
        from sentence_transformers import SentenceTransformer

        encoder = SentenceTransformer(model, device="cpu")

        class Encoder(BaseEmbedding):  # type: ignore[misc]
            def _get_text_embedding(self, text: str) -> list[float]:
                return encoder.encode(text, show_progress_bar=False).tolist()  # type: ignore[no-any-return]

            _get_query_embedding = _get_text_embedding

            async def _aget_query_embedding(self, query: str) -> list[float]:
                return self._get_text_embedding(query)

        self.encoder = encoder
        self.embedding = Encoder(model_name="all-minilm-l6-v2")
        self.converter = DocumentConverter(
            allowed_formats=[InputFormat.HTML, InputFormat.MD, InputFormat.PDF],
            format_options={InputFormat.PDF: NativePdfFormatOption()},
        )
        self.chunker = HybridChunker(
            tokenizer=HuggingFaceTokenizer(tokenizer=encoder.tokenizer, max_tokens=MOST_TOKENS)
        )
        self.nodes: list[Any] = []
        self.index: Any = None
        self.failed: list[str] = []
        self.file_s: list[float] = []
        self.file_chunks: list[int] = []
        self.spent = {"load": time.monotonic() - began, "convert": 0.0, "chunk": 0.0, "embed": 0.0, "index": 0.0}

    def read(self, paths: list[str]) -> None:
        """Convert and chunk files; what docling cannot read is only named."""
        from llama_index.core.schema import TextNode

        for path in paths:
            began = time.monotonic()
            try:
                document = self.converter.convert(path).document
                converted = time.monotonic()
                texts = [self.chunker.contextualize(chunk) for chunk in self.chunker.chunk(document)]
            except Exception as error:  # any library below may raise anything
                self.failed.append(f"{os.path.basename(path)}: {type(error).__name__}: {str(error)[:100]}")
                converted, texts = time.monotonic(), []
            nodes = [TextNode(text=text, metadata={"file": path}) for text in texts if text.strip()]
            self.nodes += nodes
            ended = time.monotonic()
            self.spent["convert"] += converted - began
            self.spent["chunk"] += ended - converted
            self.file_s.append(ended - began)
            self.file_chunks.append(len(nodes))

    def build(self) -> None:
        """Embed all chunks and put them into an index."""
        from llama_index.core import VectorStoreIndex

        began = time.monotonic()
        vectors = self.encoder.encode([node.text for node in self.nodes], show_progress_bar=False)
        for node, vector in zip(self.nodes, vectors.tolist(), strict=True):
            node.embedding = vector
        embedded = time.monotonic()
        self.index = VectorStoreIndex(self.nodes, embed_model=self.embedding)
        self.spent["embed"] += embedded - began
        self.spent["index"] += time.monotonic() - embedded

    def fill(self, many: int) -> None:
        """Fill the index with copies until it holds `many` chunks, as it would after the whole folder."""
        from llama_index.core.schema import TextNode

        copies = []
        while len(self.nodes) + len(copies) < many:
            node = self.nodes[len(copies) % len(self.nodes)]
            copies.append(TextNode(text=node.text, metadata=node.metadata, embedding=node.embedding))
        self.index.insert_nodes(copies)

    def ask(self, query: str, most: int = TOP) -> list[str]:
        """Return the files of the best chunks, best first."""
        found = self.index.as_retriever(similarity_top_k=most).retrieve(query)
        return [node.metadata["file"] for node in found]

    def timed(self, queries: list[str]) -> list[float]:
        """Return the milliseconds that each query takes; one is asked before, to warm up."""
        self.ask(queries[0])
        took = []
        for query in queries:
            began = time.monotonic()
            self.ask(query)
            took.append((time.monotonic() - began) * 1000)
        return took


def main() -> None:
    """Do one task: `files` of a folder to time, or, where there are `judged` queries, to find things in."""
    answers = os.dup(1)
    os.dup2(2, 1)  # what libraries print goes where it does no harm
    logging.disable(logging.WARNING)
    task = json.load(sys.stdin)
    peer = Peer(task["model"])
    peer.read(task["files"])
    peer.build()
    if task.get("judged"):
        answer: dict[str, Any] = {"found": [peer.ask(query, DEEP) for query in task["judged"]]}
    else:
        peer.ask(task["queries"][0])
        answer = {"first_answer_s": time.monotonic() - task["began"], "query_ms": peer.timed(task["queries"])}
        whole = round(len(peer.nodes) * task["scale"])
        if whole > len(peer.nodes):
            peer.fill(whole)
        answer |= {"whole_chunks": whole, "whole_query_ms": peer.timed(task["queries"])}
    answer |= {
        "chunks": len(peer.nodes),
        "file_s": peer.file_s,
        "file_chunks": peer.file_chunks,
        "failed": peer.failed,
        "spent_s": peer.spent,
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }
    os.write(answers, json.dumps(answer).encode())


if __name__ == "__main__":
    main()
