"""The viewer's page: what the project holds and how good its newest model is."""

from __future__ import annotations

import os
from pathlib import Path

import streamlit as st

from soundx.datasets.catalog import open_catalog

st.set_page_config(page_title="soundx", page_icon="🔊", layout="wide")
env = os.environ.get("KEDRO_ENV") or None
catalog = open_catalog(Path.cwd(), env)

st.title("soundx")
st.caption(f"Environment: {env or 'base'}")

if not catalog.exists("clip_manifest"):
    st.info(
        "No clips yet. Three ways to begin: `make run` for the demo; `kedro run "
        "--params=source=DIR` for a folder of yours; `kedro run --env=s3` for a bucket."
    )
    st.stop()

manifest = catalog.load("clip_manifest")
left, middle, right = st.columns(3)
left.metric("Clips", f"{len(manifest):,}")
middle.metric("Hours", f"{manifest['duration_s'].sum() / 3600:.2f}")
right.metric("Labels", manifest["label"].nunique())

if catalog.exists("metrics"):
    metrics = catalog.load("metrics")
    low, high = metrics["accuracy_ci95"]
    st.subheader("Newest model")
    st.metric("Accuracy on clips it never heard", f"{metrics['accuracy']:.1%}")
    st.caption(
        f"95 % interval {low:.1%} to {high:.1%}, {metrics['n_test_clips']} test clips, embedder "
        f"{metrics['embedder']}; guessing the commonest label would give "
        f"{metrics['majority_class_accuracy']:.1%}"
    )
    st.plotly_chart(catalog.load("confusion_matrix_plot"))
    st.dataframe(catalog.load("per_class_metrics"), hide_index=True)
else:
    st.info("No model yet: `kedro run`.")

st.subheader("Clips by label")
st.bar_chart(manifest["label"].value_counts())
rejected = catalog.load("rejected_clips")
if len(rejected):
    st.subheader("Rejected files")
    st.dataframe(rejected, hide_index=True)
