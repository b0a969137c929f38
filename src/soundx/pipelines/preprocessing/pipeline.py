"""Wiring of the preprocessing pipeline."""

from kedro.pipeline import Node, Pipeline

from soundx.pipelines.preprocessing.nodes import (
    build_model_input,
    calibrate_embedder,
    compact_embeddings,
    decode_clips,
    embed_clips,
    embed_noise,
    map_embeddings,
    split_clips,
)


def create_pipeline(**_: object) -> Pipeline:
    """Decode and embed the clips, split them, and list what each head learns from."""
    return Pipeline(
        [
            Node(
                func=decode_clips,
                inputs=["raw_clips", "clip_manifest"],
                outputs="waveforms",
                name="decode_clips",
                tags="audio",
            ),
            Node(
                func=calibrate_embedder,
                inputs=["waveforms", "clip_manifest", "splits", "embedder", "params:embedding"],
                outputs="embedder_networks",
                name="calibrate_embedder",
                tags="audio",
            ),
            Node(
                func=embed_clips,
                inputs=[
                    "waveforms",
                    "clip_manifest",
                    "embedder",
                    "embedder_networks",
                    "embedding_cache",
                    "params:embedding",
                    "params:dask",
                ],
                outputs=["embedding_shards", "embedding_report"],
                name="embed_clips",
                tags="audio",
            ),
            Node(
                func=embed_noise,
                inputs=["embedder", "embedding_report", "noise_cache", "params:embedding"],
                outputs="noise_frames",
                name="embed_noise",
                tags="audio",
            ),
            Node(
                func=compact_embeddings,
                inputs=[
                    "embedding_shards",
                    "embedding_report",
                    "clip_manifest",
                    "params:embedding",
                ],
                outputs="embeddings",
                name="compact_embeddings",
                tags="tables",
            ),
            Node(
                func=map_embeddings,
                inputs=["clip_manifest", "embeddings", "params:embedding_map"],
                outputs="embedding_map",
                name="map_embeddings",
                tags="tables",
            ),
            Node(
                func=split_clips,
                inputs=["clip_manifest", "params:splits"],
                outputs="splits",
                name="split_clips",
                tags="tables",
            ),
            Node(
                func=build_model_input,
                inputs=["clip_manifest", "splits", "embeddings"],
                outputs=["model_input", "model_input_state"],
                name="build_model_input",
                tags="tables",
            ),
        ],
        namespace="preprocessing",
        prefix_datasets_with_namespace=False,
    )
