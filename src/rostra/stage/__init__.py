"""The stage: where speakers meet. N WebRTC connections become one mix, and each speaker hears everyone but themself."""

from rostra.stage.options import Options

__all__ = ["Options"]
