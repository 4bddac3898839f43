"""Layouts of what processes share. Each begins with a magic and a version; `rostra.kernel.io.memory` maps them."""
