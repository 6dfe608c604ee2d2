"""Which files hold keys and credentials, by their names and by how they begin.

The names are those of the ignore templates of GitHub (github.com/github/gitignore) and Docker, of
the path rules of gitleaks and truffleHog, and of the manuals of the programs named. Case does not
count, and a folder's name counts for all that is in it.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

# One pattern a word; a `/` joins the names of a folder and of what is in it, at any depth.
PATTERNS = """
.env .env.* .env-* .env_* *.env .envrc .direnv .flaskenv                   dotenv, direnv
local_settings.py .streamlit/secrets.toml                                  GitHub: Python

*.pem *.key *.p8 *.p12 *.pkcs12 *.pfx *.der *.jks *.jceks *.bks *.keystore *.truststore
*.keytab *.kdb *.kdbx *.psafe3 *.agilekeychain *.opvault *.snk *.pvk *.mobileprovision *.ovpn
wg[0-9].conf *.rsa *.dsa *.ecdsa *.ed25519                                 keys, certificates, vaults
id_rsa* id_dsa* id_ecdsa* id_ed25519* id_xmss* *_rsa *_dsa *_ecdsa *_ed25519 *.ppk
ssh_host_*_key .ssh .putty identity.pub                                    ssh(1), PuTTY
*.asc *.gpg *.pgp *.age secring.* .gnupg .password-store                   gpg(1), age, pass

.aws .boto .s3cfg .passwd-s3fs rootkey.csv accesskeys.csv credentials.csv *_accesskeys.csv
*_credentials.csv .azure .gcloud .config/gcloud application_default_credentials.json
*firebase*adminsdk* gcp-key*.json gcloud*.json .oci .aliyun .bluemix .doctl .config/doctl
.config/hcloud .config/rclone rclone.conf .rclone.conf .databrickscfg .databricks
.snowflake .snowsql .ngc .linode-cli .flyctl .modal.toml .pulumi           clouds
.kube kubeconfig kubeconfig.* kubeconfig-* kubeconfig_* *.kubeconfig *-kubeconfig
*-kubeconfig.y*ml .helm/repository .talos talosconfig                      Kubernetes
.docker .dockercfg .dockerconfigjson .config/containers/auth.json          Docker, podman
terraform.tfstate* *.tfstate *.tfstate.* *.tfvars *.tfvars.json .terraform .terraform.d
.terraformrc terraform.rc .vault-token .vault_pass* .vault-pass* vault_pass* vault-pass*
vault-password* ansible_vault_pass* .chef .sops .sops.y*ml                 HashiCorp, Ansible, Chef

.git .git-credentials .gitconfig .config/git .config/gh .config/glab-cli .config/hub .hub
.netrc _netrc *.netrc .authinfo* .hgrc .subversion                         version control
.npmrc .yarnrc.yml .pypirc .pip pip.conf pip.ini .condarc .gem .bundle/config
.cargo/credentials* .m2 settings-security.xml .gradle .ivy2/.credentials nuget.config
.nuget .composer/auth.json auth.json .config/pypoetry                      package registries
.huggingface .cache/huggingface/token .cache/huggingface/stored_tokens .ray/auth_token
.kaggle kaggle.json .wandb .config/wandb .comet.config .neptune clearml.conf .clearml.conf
.lightning .openai .anthropic .cohere .replicate .jupyter .ipython/profile_*/security
jupyter_*_config.json jupyter_cookie_secret                                machine learning

.pgpass pgpass.conf .pg_service.conf .my.cnf .mylogin.cnf my.cnf .mysql .dbshell .rediscli*
.mongorc.js .dbt profiles.yml .psqlrc .odbc.ini tnsnames.ora dbeaver-data-sources.xml
.htpasswd *.htpasswd htpasswd .htdigest wp-config.php database.yml parameters.yml
.esmtprc .msmtprc .fetchmailrc .muttrc .smbcredentials .ftpconfig .ftpquota .remote-sync.json
sftp-config.json sftp.json filezilla.xml recentservers.xml sitemanager.xml winscp.ini
.config/filezilla .config/nordvpn .cookies cookies.txt cookies.sqlite logins.json key3.db key4.db
.mozilla .config/google-chrome .config/chromium .thunderbird wallet.dat .bitcoin .ethereum
.electrum utc--* shadow master.key *_history .irb_history .lesshst .viminfo .pry_history
.config/op .1password .lastpass .bitwarden .config/bitwarden* .travis.token .circleci/local.yml
heroku.json .heroku .netlify .vercel .dropbox .s3ql .tugboat .ejabberd          databases, programs
"""

# These are secret without an ending or with one of a file that programs read their settings from;
# secrets.py, tokens.md and passwords.jsonl are code, notes and data.
STEMS = """
credentials credential creds credentials[-_.]* *[-_.]credentials *[-_.]creds secret secrets
secrets[-_.]* *[-_.]secret *[-_.]secrets client?secret* *client?secret* password passwords passwd
*[-_.]password *[-_.]passwords passphrase token *[-_.]token token[-_]* access?token*
refresh?token* oauth?token* auth_token* hf_token* bearer* api?key api?keys *[-_.]api?key
*[-_.]api?keys apikey apikeys *apikey *private?key* privatekey* *secret?key* secretkey* access?key*
accesskey* signing?key* encryption?key* deploy?key *service?account* *serviceaccount*
*[-_]sa?key msal_token_cache accesstokens azureprofile
"""
ENDINGS = ["", *"json yaml yml toml ini cfg conf txt xml properties env enc plist pickle pkl".split()]
EXAMPLES = (".example", ".sample", ".template", ".dist", ".tmpl")  # committed on purpose
PUBLIC = ".pub"  # the half of a key that anybody may have

BEGINS = 4096  # bytes of a file that are looked at
PRIVATE_KEY = re.compile(
    rb"^(-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY( BLOCK)?-----\s*$|PuTTY-User-Key-File-\d)", re.MULTILINE
)


def is_secret_name(path: str) -> bool:
    """Whether a path (with `/`) names a file that holds a secret, or lies in such a folder."""
    parts = tuple(path.casefold().split("/"))
    if any(_matches(parts[:end]) for end in range(1, len(parts))):
        return True
    if parts[-1].endswith((*EXAMPLES, PUBLIC)):
        return False
    return _matches(parts) or _has_secret_stem(parts[-1])


def begins_like_a_key(path: Path) -> bool:
    """Whether a file begins as private keys do."""
    with path.open("rb") as file:
        return PRIVATE_KEY.search(file.read(BEGINS)) is not None


def _matches(parts: tuple[str, ...]) -> bool:
    """Whether the last of the parts is named, by itself or with the folders it lies in."""
    return any(
        len(pattern) <= len(parts) and all(map(fnmatchcase, parts[-len(pattern) :], pattern))
        for pattern in _patterns()
    )


@cache
def _patterns() -> tuple[tuple[str, ...], ...]:
    # three blanks end the patterns of a line: what follows says whose they are
    lines = [line.partition("   ")[0] for line in PATTERNS.splitlines()]
    return tuple(tuple(word.split("/")) for line in lines for word in line.split())


def _has_secret_stem(name: str) -> bool:
    stem, dot, ending = name.lstrip(".").rpartition(".")
    if not dot:
        stem, ending = ending, ""
    return ending in ENDINGS and any(fnmatchcase(stem, pattern) for pattern in STEMS.split())
