//! What stands below each `--help`. A test holds every example to what can be typed.

pub(super) const WEIR: &str = "\
Examples:
  weir up                                       start weir; its page is at http://127.0.0.1:9640
  weir run --name hello -- sh -c 'echo hello'   start a container
  weir logs '{container=\"hello\"}'               what it wrote in the last hour
  weir metrics 'rate(container_cpu_usage_seconds_total[1m])'
  weir trace 04c87ec97bae041b1b15b3c7676a43cc
  weir logs --help                              options and examples of one command

Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage or wrong input file.
Every option can also be set by the environment variable that stands beside it in the command's --help.";

pub(super) const UP: &str = "\
Examples:
  weir up
  weir up --data /var/lib/weir --config /etc/weir.toml
  weir up --listen 127.0.0.1:9700 --no-node     beside another weir, for pushed data only";

pub(super) const COLLECTOR: &str = "\
Examples:
  weir collector --config /etc/weir.toml --data /var/lib/weir
It needs [bus] kind = \"kafka\" in the configuration.";

pub(super) const AGGREGATOR: &str = "\
Examples:
  weir aggregator --config /etc/weir.toml --store s3://bucket/weir
It needs [bus] kind = \"kafka\" in the configuration.";

pub(super) const QUERY: &str = "\
Examples:
  weir query --config /etc/weir.toml --store s3://bucket/weir
It needs [bus] kind = \"kafka\" in the configuration.";

pub(super) const RUN: &str = "\
Examples:
  weir run --name hello -- sh -c 'echo hello'
  weir run -d --name web --memory 256Mi --cpus 0.5 --restart always -- python3 -m http.server";

pub(super) const PS: &str = "\
Examples:
  weir ps
  weir ps -o json

EXIT is the exit code of a container that has ended (128 and the signal's number if a signal ended it);
OOM is set if it was killed for lack of memory. Times are local, with their offset from UTC.";

pub(super) const STOP: &str = "\
Examples:
  weir stop web
  weir stop web --time 30";

pub(super) const RM: &str = "\
Examples:
  weir rm web
  weir rm --force web";

pub(super) const LOGS: &str = "\
Examples:
  weir logs 'error -timeout level:warn' --since 15m
  weir logs --trace 04c87ec97bae041b1b15b3c7676a43cc
  weir logs '{container=\"web\"} |= \"error\"' --since 15m
  weir logs -f '{namespace=\"shop\"}'             all containers of a namespace, each in its colour
  weir logs '{pod=~\"web-.*\"}' --from '2026-11-27 10:00' --to '2026-11-27 10:05' --limit 5000
  weir logs 'sum by (pod) (rate({namespace=\"shop\"}[1m]))' --step 30s
  weir logs '{namespace=\"shop\"}' --show patterns    which lines there are, without their numbers, and how many

Times are local, with their offset from UTC; set TZ for another zone.";

pub(super) const METRICS: &str = "\
Examples:
  weir metrics 'rate(container_cpu_usage_seconds_total[1m])'
  weir metrics 'container_memory_working_set_bytes' --to 'now-1d'
  weir metrics 'sum by (pod) (rate(container_cpu_usage_seconds_total[1m]))' --since 6h --step 5m

Times are local, with their offset from UTC; set TZ for another zone.";

pub(super) const TRACE: &str = "\
Examples:
  weir trace 04c87ec97bae041b1b15b3c7676a43cc
  weir trace 04c87ec97bae041b1b15b3c7676a43cc --logs
  weir trace 04c87ec97bae041b1b15b3c7676a43cc -o json";

pub(super) const CHECK: &str = "\
Examples:
  weir check config /etc/weir.toml
  weir check rules /etc/weir/rules.yml
  weir check access --as reader --config /etc/weir.toml '{namespace=\"web\"}'";

pub(super) const CHECK_ACCESS: &str = "\
Examples:
  weir check access --as reader --config /etc/weir.toml
  weir check access --as reader --group shop-dev --tenant shop --signal logs '{namespace=\"web\"}'
  weir check access --as agent --verb push --tenant shop
  weir check access --as system:serviceaccount:shop:agent --bound shop --verb push
  weir check access --as alice --group sre --verb admin";

pub(super) const CHECK_CONFIG: &str = "\
Examples:
  weir check config /etc/weir.toml
  weir check config --connect /etc/weir.toml";

pub(super) const CHECK_RULES: &str = "\
Examples:
  weir check rules /etc/weir/rules.yml
  weir check rules --logql /etc/loki/rules.yml";

pub(super) const CONFIG: &str = "\
Examples:
  weir config > weir.toml";

pub(super) const CERTS: &str = "\
Examples:
  weir certs certs                                        a CA, a certificate for each role, and client-admin
  weir certs certs --host weir.example,10.0.0.7 --days 90
  weir certs certs --role client:grafana                  one more client of the same CA
  weir certs certs --role query --force                   renewed

ca.pem and crl.pem go to every machine, a role's certificate and key to its own. ca.key stays here: who has it is everybody.
Running processes read new files within a second.";

pub(super) const CERTS_REVOKE: &str = "\
Examples:
  weir certs revoke certs certs/client-grafana.pem";

pub(super) const ADMIN: &str = "\
Examples:
  weir admin seal
  weir admin compact --addr localhost:9700
  weir admin seal --addr https://weir.example:9640 --ca-file ca.pem --cert client-admin.pem --key client-admin.key
  weir admin expire -o json
  weir admin disk
  weir admin delete '{app=\"shop\"} |= \"card\"' --start now-1d
  weir admin delete-tenant shop --confirm shop";

pub(super) const USAGE: &str = "\
Examples:
  weir usage --since 30d
  weir usage --from 2026-11-01 --to 2026-12-01 --tenant 'shop|bank'
  weir usage --all --since 7d -o json

Of the last hour where no range is said. A query of several tenants counts for each.";

pub(super) const CARDINALITY: &str = "\
Examples:
  weir cardinality
  weir cardinality --by labels
  weir cardinality '{job=\"web\"}' --by pairs --limit 50
  weir cardinality --by targets --since 1d -o json

Of the series of the last hour where no range is said. No samples are read.";

pub(super) const LOGIN: &str = "\
Examples:
  weir login https://weir.example:9640 --token-file token
  weir login weir.example:9640 --user ann --tenant shop   asks for the password
  weir login localhost:9640 --token-file - --profile local
  weir login https://weir.example:9640 --device          in a browser, at weir's OpenID Connect issuer

Credentials are tried and then kept in $XDG_CONFIG_HOME/weir/profiles.toml (or ~/.config), which its owner alone can read. logs, metrics,
trace, admin and whoami use the last profile that was signed in to; --profile names another, --addr uses none.";

pub(super) const LOGOUT: &str = "\
Examples:
  weir logout
  weir logout --profile local";

pub(super) const WHOAMI: &str = "\
Examples:
  weir whoami
  weir whoami --profile local -o json";

pub(super) const COMPLETIONS: &str = "\
Examples:
  weir completions bash > /etc/bash_completion.d/weir
  weir completions zsh > ~/.zfunc/_weir
  weir completions fish > ~/.config/fish/completions/weir.fish";

pub(super) const MAN: &str = "\
Examples:
  weir man /usr/local/share/man/man1";
