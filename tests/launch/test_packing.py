"""What is sent to a cluster: the files git would take, no secrets, not too much."""

from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from whet.config import FitConfig
from whet.errors import ConfigError
from whet_launch.options.words import changed_options, refuse_secrets
from whet_launch.remote import packing
from whet_launch.remote.packing import files_of, look_through, pack
from whet_launch.remote.secret_files import is_secret_name


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


@pytest.mark.parametrize("repository", [True, False])
def test_ignored_files_and_secrets_stay_here(tmp_path: Path, repository: bool) -> None:
    write(tmp_path, "a.py", "data/corpus.jsonl", "runs/1/model", "big.bin", "sub/b.py", "sub/c.tmp")
    write(
        tmp_path,
        "notes.pdf",
        ".env",
        "sub/.env.local",
        "tls.key",
        ".netrc",
        "a name with spaces é.txt",
    )
    (tmp_path / ".gitignore").write_text("/runs/\n")
    (tmp_path / ".rayignore").write_text("*.bin\n")
    (tmp_path / ".whetignore").write_text("*.pdf\n")
    (tmp_path / "sub" / ".gitignore").write_text("*.tmp\n")
    (tmp_path / "out").symlink_to("/etc/hostname")
    if repository:
        subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
        subprocess.run(["git", "add", "a.py"], cwd=tmp_path, check=True)
    assert files_of(tmp_path) == [
        ".gitignore",
        ".rayignore",
        ".whetignore",
        "a name with spaces é.txt",
        "a.py",
        "data/corpus.jsonl",
        "sub/.gitignore",
        "sub/b.py",
    ]


def test_equal_folders_give_equal_zips_that_keep_modes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path, f"{name}/run.sh", f"{name}/x/y.txt")
        (tmp_path / name / "run.sh").write_text("#!/bin/sh\n")
        (tmp_path / name / "x/y.txt").write_text("y")
        (tmp_path / name / "run.sh").chmod(0o755)
        os.utime(tmp_path / name / "run.sh", (len(name), 7))
        pack(look_through(tmp_path / name), tmp_path / f"{name}.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == ["run.sh", "x/y.txt"]
        assert archive.getinfo("run.sh").external_attr >> 16 & 0o777 == 0o755


def test_too_much_is_refused_with_the_biggest_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "MOST_BYTES", 100)
    write(tmp_path, "small.py")
    for size, name in ((90, "b.bin"), (99, "a.bin"), (50, "c.bin"), (10, "d.bin")):
        (tmp_path / name).write_bytes(bytes(size))
    with pytest.raises(ConfigError, match=r"a\.bin.*b\.bin.*c\.bin.*Name them in \.whetignore"):
        pack(look_through(tmp_path), tmp_path / "work.zip")
    assert not (tmp_path / "work.zip").exists()


def test_words_give_back_the_configuration(calls, whet, tmp_path: Path) -> None:
    config = FitConfig(seed=3, output="/runs/it's a b")
    config.data.path = "my data, 'here'"
    config.model.query_prompt = "null"
    config.model.max_length = 12
    config.mining.relative_margin = None
    config.loss.symmetric = True
    config.evaluate.measures = ["nDCG@10", "R@100"]
    config.trainer.learning_rate = 3e-5
    assert whet("fit", *changed_options(config, {})) == (0, "", "")
    assert calls == [config]


def test_a_secret_never_becomes_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_TOKEN", "hf_0123456789")
    refuse_secrets(["data=my/data", "seed=1"])
    with pytest.raises(ConfigError, match=r"model.name holds the value of \$MY_API_TOKEN") as told:
        refuse_secrets(["model.name=https://x:hf_0123456789@host/m"])
    assert "hf_0123456789" not in str(told.value)


SECRET = """
.env .ENV .env.local .env.production sub/.env prod.env config/staging.Env .envrc .flaskenv
local_settings.py .streamlit/secrets.toml id_rsa ID_RSA id_dsa id_ecdsa id_ed25519 id_ed25519_work
id_ecdsa_sk id_rsa.bak deploy_rsa ssh_host_ed25519_key .ssh/config .ssh/id_rsa.pub
a/.ssh/known_hosts server.pem server.PEM tls/site.key cert.p12 Cert.PFX AuthKey_ABC.p8 release.jks
debug.keystore
client.ovpn wg0.conf passwords.kdbx putty.ppk secret.asc backup.gpg .gnupg/pubring.kbx master.key
.aws/credentials .aws/config .boto .s3cfg rootkey.csv bob_accessKeys.csv credentials.csv
.azure/msal_token_cache.json .config/gcloud/credentials.db application_default_credentials.json
my-service-account.json service_account.json shop-firebase-adminsdk-x1.json gcp-key.json
.oci/config .config/rclone/rclone.conf .databrickscfg .kube/config kubeconfig kubeconfig.yaml
prod.kubeconfig .docker/config.json .dockercfg terraform.tfstate terraform.tfstate.backup
prod.tfvars prod.auto.tfvars .terraform/x.json .terraformrc .vault-token .vault_pass.txt .git/config
vendor/.git/config .git-credentials .gitconfig .config/gh/hosts.yml .netrc _netrc .npmrc .yarnrc.yml
.pypirc pip.conf .condarc .cargo/credentials.toml .m2/settings.xml NuGet.Config auth.json
.huggingface/token .cache/huggingface/token .ray/auth_token kaggle.json .kaggle/kaggle.json
.config/wandb/settings clearml.conf .jupyter/jupyter_server_config.json .pgpass .my.cnf
.dbt/profiles.yml .htpasswd wp-config.php sftp-config.json logins.json key4.db wallet.dat
.bash_history .python_history credentials credentials.json Credentials.YAML google-credentials.json
client_secret.json client_secret_123.apps.json secrets.yaml secrets.toml secret.txt prod-secrets.yml
password.txt passwords token token.json token.pickle hf_token .hf_token api_key api_key.txt
apikey.json openai-api-key.txt private_key.txt access_token.json signing_key.conf keyfile.json
""".split()
ORDINARY = """
train.py keys.py secrets.py credentials.py token.py passwords.py test_credentials.py env.py auth.py
data/corpus.jsonl data/queries.jsonl data/qrels/test.tsv tokenizer.json tokenizer_config.json
special_tokens_map.json added_tokens.json tokens.txt vocab.txt notes/tokens.md notes/passwords.md
docs/secrets.md environment.yml environment.json .environment .env.example .env.sample
.env.template id_rsa.pub keyboard.json keywords.txt keypoints.csv monkey.txt turkey.json
passwords.jsonl secret_santa.txt token_counts.json author.json authors.json access.log private.py
public_key_infrastructure.md credential_theft.jsonl docker-compose.yml Dockerfile .dockerignore
.gitignore .whetignore .pre-commit-config.yaml kube.py terraform.md main.tf npm.txt history.txt
training_history chat_history.json config.yaml settings.json profiles.yml parameters.yml
model/model.safetensors envelope.txt pem.md rsa_paper.txt
""".split()


@pytest.mark.parametrize("name", SECRET)
def test_a_name_of_keys_or_credentials(name: str) -> None:
    assert is_secret_name(name) and is_secret_name(f"some/folder/{name}")


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_name_that_looks_like_one(name: str) -> None:
    assert not is_secret_name(name)


def test_a_key_or_a_link_to_one_stays_here_by_another_name(tmp_path: Path) -> None:
    write(tmp_path, "a.py", ".env", "sub/.git-credentials")
    for header in ("-----BEGIN RSA PRIVATE KEY-----", "-----BEGIN PGP PRIVATE KEY BLOCK-----"):
        (tmp_path / header.split()[1]).write_text(f"Comment: mine\n\n{header}\nx\n")
    (tmp_path / "putty").write_text("PuTTY-User-Key-File-3: ssh-ed25519\n")
    (tmp_path / "how.md").write_text("Begin with `-----BEGIN PRIVATE KEY-----` and go on.\n")
    (tmp_path / "link.txt").symlink_to(".env")
    (tmp_path / "folder").symlink_to("sub")
    packing = look_through(tmp_path)
    assert list(packing.sizes) == ["a.py", "how.md"]
    wanted = [".env", "PGP", "RSA", "link.txt", "putty", "sub/.git-credentials"]
    assert packing.secrets == wanted


def test_what_stays_is_said(tmp_path: Path) -> None:
    write(tmp_path, "a.py", ".env", "runs/1/x", "vendor/lib.py", *(f"k{n}.pem" for n in range(9)))
    (tmp_path / ".gitignore").write_text("runs/\n")
    (tmp_path / "out").symlink_to("/etc/hostname")
    subprocess.run(["git", "init", "-q", str(tmp_path / "vendor")], check=True)
    assert look_through(tmp_path).summary().splitlines() == [
        "Sending 2 files, 10 bytes.",
        "10 stay here (keys or credentials): .env, k0.pem, k1.pem, k2.pem, k3.pem, k4.pem, "
        "k5.pem, k6.pem and 2 more.",
        "1 stays here (repositories of their own): vendor/.",
        "1 stays here (links that lead elsewhere): out.",
        "1 stays here (.gitignore, .rayignore or .whetignore): runs/.",
    ]


def test_a_name_that_is_not_utf_8_is_one_line(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9\n.txt")).write_text("x")
    with pytest.raises(ConfigError, match=r"caf\\udce9\\n\.txt is not UTF-8") as told:
        look_through(tmp_path)
    assert "\n" not in str(told.value)


def test_variables_of_git_decide_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a hook has them: its index lists a.py, and `--others` would leave it out."""
    write(tmp_path, "a.py", "b.py")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "a.py"], cwd=tmp_path, check=True)
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / ".git" / "index"))
    assert files_of(tmp_path) == ["a.py", "b.py"]


def test_a_dry_run_lists_and_sends_nothing(
    whet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a.py", "data/corpus.jsonl", ".env")
    monkeypatch.chdir(tmp_path)
    words = ["fit", "data=data", "--dry-run"]
    code, out, err = whet(*words, "launch=job", "launch.address=http://127.0.0.1:1")
    assert (code, err) == (0, "")
    assert out.splitlines()[:3] == [
        f"{4:>13}  a.py",
        f"{17:>13}  data/corpus.jsonl",
        "   stays here  .env",
    ]
    assert "To be sent: 2 files, 21 bytes." in out
    code, out, err = whet(*words)
    assert (code, out) == (2, "")
    assert "launch.dry_run (--dry-run) lists what launch=job would send" in err
    assert whet("mine", "data=data", "--dry-run")[0] == 2
