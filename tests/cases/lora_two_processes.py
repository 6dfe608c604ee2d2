"""A LoRA trained by two processes: none waits for the gradient of a part that makes no vector."""

from __future__ import annotations

from harness import FIT, data, done, expect, model, place, whet

with place() as here:
    data(here / "data")
    model(here / "model")
    words = ["data.path=data", "model.name=model", "model.lora_rank=4", "launch.num_workers=2"]
    ended = whet("fit", *words, *FIT, "trainer.max_steps=2", "output=run", timeout=240)
    expect(ended.code == 0 and not ended.trace, f"it trains ({ended.state})")
    judged = whet("eval", "data.path=data", "model.name=run/model", "output=judged")
    expect(judged.code == 0, f"what it saved opens ({judged.state})")
done()
