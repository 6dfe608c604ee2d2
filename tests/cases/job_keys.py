"""The usual names of keys and credentials stay here when a job is sent; ordinary files go."""

from __future__ import annotations

from harness import done, expect, place, whet

SECRET = [
    *(".envrc", "prod.env", ".ENV", "id_rsa", "id_ed25519", ".ssh/id_ecdsa", "server.PEM"),
    *("cert.p12", ".git-credentials", ".aws/credentials", ".npmrc", ".pypirc"),
    *(".huggingface/token", ".ray/auth_token", "kubeconfig", "credentials.json", "secrets.yaml"),
]
ORDINARY = ["train.py", "data/corpus.jsonl", "tokenizer.json", "keys.py", "notes/tokens.md"]

with place() as here:
    work = here / "work"
    for name in SECRET + ORDINARY:
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text("x")
    listed = whet("fit", "data.path=data", "launch.mode=job", "--dry-run", cwd=work)
    expect(listed.code == 0, f"a dry run lists ({listed.state})")
    rows = [line.split(maxsplit=1) for line in listed.out.splitlines()]
    sent = {row[1] for row in rows if row[0] == "1"}
    for name in SECRET:
        expect(name not in sent and f"stays here  {name}\n" in listed.out, f"{name} stays here")
    for name in ORDINARY:
        expect(name in sent, f"{name} is sent")
done()
