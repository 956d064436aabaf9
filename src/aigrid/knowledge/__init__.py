"""From a folder of files to cited answers: parse, chunk, embed, index, search, rank, cite."""
