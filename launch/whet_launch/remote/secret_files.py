"""Which files hold keys and credentials, by their names and by how they begin.

The names are those that the ignore templates of GitHub (github.com/github/gitignore) and of Docker,
the path rules of gitleaks, truffleHog and gitrob, and the manuals of the programs name. Case does
not count, and a folder's name counts for all that is in it.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

# whose they are -> patterns; a `/` joins a folder and what is in it, at any depth
FAMILIES = {
    "dotenv, direnv, GitHub's Python template": """
        .env .env.* .env-* .env_* *.env .envrc .direnv .flaskenv local_settings.py
        .streamlit/secrets.toml""",
    "private keys and stores of keys (gitleaks, GitHub's templates)": """
        *.pem *.key *.p8 *.p12 *.pkcs12 *.pfx *.der *.jks *.jceks *.bks *.keystore *.truststore
        *.keytab *.kdb *.kdbx *.psafe3 *.agilekeychain *.opvault *.snk *.pvk *.mobileprovision
        *.ovpn wg[0-9].conf *.rsa *.dsa *.ecdsa *.ed25519 master.key""",
    "ssh(1), PuTTY": """
        id_rsa* id_dsa* id_ecdsa* id_ed25519* id_xmss* *_rsa *_dsa *_ecdsa *_ed25519
        ssh_host_*_key .ssh .putty *.ppk""",
    "gpg(1), age, pass, 1Password and the like": """
        *.asc *.gpg *.pgp *.age secring.* .gnupg .password-store .config/op .1password .lastpass
        .bitwarden .config/bitwarden*""",
    "clouds": """
        .aws .boto .s3cfg .s3ql .passwd-s3fs rootkey.csv accesskeys.csv *_accesskeys.csv
        credentials.csv *_credentials.csv .azure .gcloud .config/gcloud
        application_default_credentials.json *firebase*adminsdk* gcloud*key*.json .oci .aliyun
        .bluemix .doctl .config/doctl .config/hcloud .config/rclone rclone.conf .rclone.conf
        .databrickscfg .databricks .snowflake .snowsql .ngc .linode-cli .flyctl .modal.toml
        .pulumi .heroku .netlify .vercel .dropbox .tugboat""",
    "Kubernetes, Docker, podman": """
        .kube kubeconfig kubeconfig.* kubeconfig-* kubeconfig_* *.kubeconfig *-kubeconfig
        *-kubeconfig.y*ml .helm/repository .talos talosconfig .docker/config.json
        .docker/contexts .docker/trust .dockercfg .dockerconfigjson
        .config/containers/auth.json""",
    "HashiCorp, Ansible, Chef, SOPS": """
        *.tfstate *.tfstate.* *.tfvars *.tfvars.json .terraform .terraform.d .terraformrc
        terraform.rc .vault-token .vault_pass* .vault-pass* vault_pass* vault-pass*
        ansible_vault_pass* .chef .sops""",
    "git(1), curl(1), hg(1), svn(1)": """
        .git .git-credentials .gitconfig .config/git .config/gh .config/glab-cli .config/hub .hub
        .netrc _netrc *.netrc .authinfo* .hgrc .subversion""",
    "package registries": """
        .npmrc .yarnrc.yml .pypirc .pip pip.conf pip.ini .condarc .gem .bundle/config
        .cargo/credentials* .m2 settings-security.xml .gradle .ivy2/.credentials nuget.config
        .nuget auth.json .config/pypoetry""",
    "machine learning": """
        .huggingface .cache/huggingface/token .cache/huggingface/stored_tokens .ray/auth_token
        .kaggle kaggle.json .config/wandb .comet.config .neptune clearml.conf .clearml.conf
        .lightning .openai .anthropic .cohere .replicate .jupyter jupyter_*_config.json
        jupyter_cookie_secret""",
    "databases (gitrob)": """
        .pgpass pgpass.conf .pg_service.conf .my.cnf my.cnf .mylogin.cnf .dbshell .mongorc.js .dbt
        .odbc.ini tnsnames.ora dbeaver-data-sources.xml config/database.yml""",
    "mail, file transfer, web servers (gitrob, truffleHog)": """
        .htpasswd *.htpasswd htpasswd .htdigest wp-config.php app/config/parameters.yml .esmtprc
        .msmtprc .fetchmailrc .muttrc .smbcredentials .ftpconfig .remote-sync.json
        sftp-config.json sftp.json filezilla.xml recentservers.xml sitemanager.xml winscp.ini
        .config/filezilla etc/shadow""",
    "browsers, wallets, histories of shells": """
        cookies.txt cookies.sqlite logins.json key3.db key4.db .mozilla .config/google-chrome
        .config/chromium .thunderbird wallet.dat .bitcoin .ethereum .electrum utc--*
        .*_history""",
}

# Secret without an ending or with one of a file that settings are read from: secrets.py, tokens.md
# and passwords.jsonl are code, notes and data. A dot before the name does not count.
STEMS = """
    credentials credential creds credentials[-_.]* *[-_.]credentials *[-_.]creds
    secret secrets secrets.* *[-_.]secret *[-_.]secrets *client?secret* *clientsecret*
    password passwords passwd *[-_.]password *[-_.]passwords *[-_.]passwd passphrase
    token *[-_.]token *access?token* *refresh?token* *oauth?token* auth?token* hf?token*
    api?key api?keys *[-_.]api?key *[-_.]api?keys *apikey*
    key keyfile gcp?key* *private?key* *privatekey* *secret?key* *secretkey* *access?key*
    *accesskey* *signing?key* *encryption?key* *deploy?key* *[-_]sa?key
    *service?account* *serviceaccount* accesstokens msal_token_cache azureprofile
"""
ENDINGS = [
    "",
    *"json yaml yml toml ini cfg conf txt xml properties env enc plist pickle pkl".split(),
]
EXAMPLES = (".example", ".sample", ".template", ".dist", ".tmpl")  # committed on purpose
PUBLIC = ".pub"  # the half of a key that anybody may have

BEGINS = 4096  # bytes of a file that are looked at
PRIVATE_KEY = re.compile(
    rb"^(-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY( BLOCK)?-----\s*$|PuTTY-User-Key-File-\d)",
    re.MULTILINE,
)


def is_secret_name(path: str) -> bool:
    """Whether a path (with `/`) names a file that holds a secret, or lies in such a folder.

    >>> is_secret_name("home/.ssh/id_rsa"), is_secret_name("data/corpus.jsonl")
    (True, False)
    """
    parts = tuple(path.casefold().split("/"))
    if any(_is_named(parts[:end]) for end in range(1, len(parts))):
        return True
    if parts[-1].endswith((*EXAMPLES, PUBLIC)):
        return False
    return _is_named(parts) or _has_secret_stem(parts[-1])


def begins_like_a_key(path: Path) -> bool:
    """Whether a file begins as private keys do, in PEM, OpenPGP or PuTTY's format."""
    with path.open("rb") as file:
        return PRIVATE_KEY.search(file.read(BEGINS)) is not None


def _is_named(parts: tuple[str, ...]) -> bool:
    """Whether the last of the parts is named, by itself or with the folders it lies in."""
    return any(
        len(pattern) <= len(parts) and all(map(fnmatchcase, parts[-len(pattern) :], pattern))
        for pattern in _patterns()
    )


@cache
def _patterns() -> tuple[tuple[str, ...], ...]:
    words = [word for family in FAMILIES.values() for word in family.split()]
    return tuple(tuple(word.split("/")) for word in words)


def _has_secret_stem(name: str) -> bool:
    stem, dot, ending = name.lstrip(".").rpartition(".")
    if not dot:
        stem, ending = ending, ""
    return ending in ENDINGS and any(fnmatchcase(stem, pattern) for pattern in STEMS.split())
