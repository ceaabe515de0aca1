#!/usr/bin/env bash
# Installs the vehicle pilot as a systemd service, or removes it. May be run again and again; asks nothing.
set -euo pipefail

NAME=vehicle-pilot
TEMPLATE_DIR=/opt/vehicle-pilot
UNIT=/etc/systemd/system/$NAME.service
SETTINGS=/etc/$NAME/pilot.yaml
LOGS=/var/log/$NAME
STATE=/var/lib/$NAME
CACHE=/var/cache/$NAME
# As perception/camera/uri.py has them; tests/journeys/service/test_install.py compares.
SCHEMES='csi v4l2 rtsp rtsps gst file images demo'

usage() {
  cat <<EOF
Usage: sudo scripts/install_service.sh [--user NAME] [--dir DIR] [--source URI] [--dry-run] [--uninstall]

Installs the vehicle pilot as the systemd service $NAME, enables it for every boot and starts it.

  --user NAME    the user it runs as, made as a system user where there is none (default: $NAME)
  --dir DIR      the folder of pilot.py with its .venv (default: the one this script lies in)
  --source URI   the camera, put into the settings; - reads it from standard input, so that a password in it
                 is seen in no list of processes
  --dry-run      prints the unit as it would be installed, and does nothing
  --uninstall    stops and removes the service; engines, logs, settings and the user are kept
  --help         prints this

Settings: $SETTINGS, made from DIR/config/local.yaml, or from config/pilot.yaml where there is none, at
the first installation and then left alone but for --source. DESTDIR in the environment stages the files below that folder and touches nothing else.
EOF
}

fail() {
  printf 'install_service.sh: %s\n' "$1" >&2
  exit "${2:-1}"
}

say() { printf '%s\n' "$*" >&2; }

# ---- what was asked for ----

user=$NAME
own=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
dir=$own
source=''
source_given=false
action=install
staged=${DESTDIR:-}

value_of() { [[ $# -ge 2 ]] || fail "$1 needs a value. See --help." 2; }

while (($#)); do
  case $1 in
    --user) value_of "$@"; user=$2; shift 2 ;;
    --dir) value_of "$@"; dir=$2; shift 2 ;;
    --source) value_of "$@"; source=$2; source_given=true; shift 2 ;;
    --user=* | --dir=* | --source=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    --dry-run) action=dry-run; shift ;;
    --uninstall) action=uninstall; shift ;;
    -h | --help) usage; exit 0 ;;
    *) fail "$1 is no option. See --help." 2 ;;
  esac
done

# ---- checks, each with its cure ----

check_user() {
  [[ $user =~ ^[a-z_][a-z0-9_-]{0,31}$ ]] || fail "--user ${user@Q}: that is no name of a user." 2
  [[ $user != root ]] || fail "--user root: the service does not run as root. Leave --user out for a user of its own." 2
}

check_dir() {
  [[ -d $dir ]] || fail "--dir ${dir@Q}: there is no such folder." 2
  dir=$(cd -- "$dir" && pwd -P)
  # What quotes, variables and line breaks mean in a unit differs from line to line.
  [[ $dir != *[\'\"\\\$:$'\n\r\t']* ]] || fail "--dir ${dir@Q}: a quote, \$, backslash, colon, tab or line break cannot stand in a unit. Move the folder." 2
  [[ -f $dir/pilot.py && -f $dir/config/$NAME.service ]] || fail "--dir ${dir@Q} is not the folder of the vehicle pilot: it has no pilot.py." 2
  [[ -x $dir/.venv/bin/python ]] || fail "$dir has no virtual environment. Make it first, as README.md says: python3 -m venv --system-site-packages .venv"
}

check_source() {
  $source_given || return 0
  if [[ $source == - ]]; then
    IFS= read -r source || [[ -n $source ]] || fail "--source -: standard input is empty." 2
  fi
  [[ -n $source ]] || fail "--source is empty. Give a URI, such as csi://0 or rtsp://192.168.1.7/stream." 2
  [[ $source != *[[:cntrl:]]* ]] || fail "--source holds a line break or another control character." 2
  # ~ would be the service's own home, and not the one that was meant.
  [[ $source != '~'* && $source != *://'~'* ]] || fail "--source ${source@Q}: write the folder of ~ in full." 2
  if [[ $source =~ ^([A-Za-z][A-Za-z0-9+.-]*):// ]]; then
    local scheme=${BASH_REMATCH[1],,}
    # Not the whole source, which may hold a password.
    [[ " $SCHEMES " == *" $scheme "* ]] || fail "--source: $scheme:// is no source. Allowed: ${SCHEMES// /, } and a path." 2
  fi
  # The service runs in DIR, not here.
  if [[ $source != /* && -e $source ]]; then source=$(realpath -- "$source"); fi
}

check_machine() {
  [[ -z $staged ]] || return 0
  [[ $EUID -eq 0 ]] || fail "Only root can install a service. Run it with sudo."
  [[ -d /run/systemd/system ]] || fail "This machine was not started by systemd, so it has no services. Run pilot.py by hand."
}

# ---- whose the checkout is ----

# Whoever owns what root runs, or may write it, is root. Prints the number of the first user besides root who owns DIR,
# something in it or a folder above it; nobody's where all may write there; 0 where it is root's alone. What the service
# itself writes does not count.
owner_of_dir() {
  local path=$dir found strange=('(' '!' -uid 0 -printf '%U\n' -o -printf '65534\n' ')' -quit)
  strange=('(' '!' -uid 0 -o '!' -type l -perm -002 '!' -perm -1000 -o '!' -type l -perm -020 '!' -gid 0 ')' "${strange[@]}")
  found=$(find -P "$dir" '(' -path "$dir/engines" -o -path "$dir/logs" ')' -prune -o "${strange[@]}")
  while [[ -z $found && $path != / ]]; do
    path=$(dirname -- "$path")
    found=$(find -P "$path" -maxdepth 0 "${strange[@]}")
  done
  printf '%s' "${found:-0}"
}

# The folder that tells the unit, which root's systemd will obey: DIR, or for root this script's own where DIR is not
# root's.
folder_of_unit() {
  if ((EUID == 0)) && [[ $(owner_of_dir) != 0 ]]; then printf '%s' "$own"; else printf '%s' "$dir"; fi
}

# python_of_dir VARIABLE=VALUE ARGUMENT...: the checkout's Python, for root as the user whose the checkout is, in a
# session of its own, so that it reaches root's terminal by no way.
python_of_dir() {
  local uid gid
  if ((EUID != 0)) || uid=$(owner_of_dir) && [[ $uid == 0 ]]; then
    env "$1" "$dir/.venv/bin/python" "${@:2}"
  else
    gid=$(id -g -- "$uid" 2>/dev/null || printf 65534)
    setsid --wait setpriv --reuid="$uid" --regid="$gid" --clear-groups --no-new-privs \
      env -i "PATH=$PATH" "$1" "$dir/.venv/bin/python" "${@:2}"
  fi
}

# ---- the unit ----

groups_here() {
  local group found=()
  for group in video render jtop; do
    # A group that does not exist would keep the service from starting.
    if getent group "$group" >/dev/null; then found+=("$group"); fi
  done
  printf '%s' "${found[*]}"
}

# One word of a unit's value, the template's folder replaced, quoted where it holds a space.
word() {
  local replaced=${1//"$TEMPLATE_DIR"/"${dir//%/%%}"}
  if [[ $replaced == *' '* ]]; then printf '"%s"' "$replaced"; else printf '%s' "$replaced"; fi
}

line_with_dir() {
  local item items line=${1%%=*}=
  read -ra items <<<"${1#*=}"
  for item in "${items[@]}"; do line+="$(word "$item") "; done
  printf '%s\n' "${line% }"
}

# A checkout in a home is shown to the service alone, read-only; the rest of the homes stays hidden.
home_lines() {
  local python prefix paths=()
  python=$(readlink -f -- "$dir/.venv/bin/python")
  prefix=$(dirname -- "$(dirname -- "$python")")
  if in_home "$dir"; then paths+=("$dir"); fi
  if in_home "$python" && [[ $prefix != "$dir"/* ]]; then paths+=("$prefix"); fi
  if ((${#paths[@]} == 0)); then
    printf 'ProtectHome=yes\n'
    return
  fi
  printf 'ProtectHome=tmpfs\n'
  local path
  for path in "${paths[@]}"; do printf 'BindReadOnlyPaths="%s"\n' "${path//%/%%}"; done
  local folder
  for folder in engines logs; do
    if in_home "$dir"; then printf 'BindPaths="-%s/%s"\n' "${dir//%/%%}" "$folder"; fi
  done
}

in_home() { [[ $1 == /home/* || $1 == /root/* || $1 == /run/user/* ]]; }

render() {
  local line template
  template=$(cat -- "$(folder_of_unit)/config/$NAME.service") || fail "The unit cannot be read."
  while IFS= read -r line; do
    case $line in
      '#'*) printf '%s\n' "$line" ;;
      User=*) printf 'User=%s\n' "$user" ;;
      SupplementaryGroups=*) printf 'SupplementaryGroups=%s\n' "$(groups_here)" ;;
      WorkingDirectory=*) printf 'WorkingDirectory=%s\n' "${dir//%/%%}" ;; # takes the rest of its line as it is
      ProtectHome=*) home_lines ;;
      *"$TEMPLATE_DIR"*) line_with_dir "$line" ;;
      *) printf '%s\n' "$line" ;;
    esac
  done <<<"$template"
}

# ---- files ----

# install_file TARGET MODE GROUP <content: whole or not at all, and never readable by others on the way.
install_file() {
  local target=$staged$1 mode=$2 group=$3 new
  # Settings that a link leads to are replaced where they lie. A unit that is masked is a link to /dev/null.
  if [[ $1 == "$SETTINGS" && -L $target && -f $target ]]; then target=$(realpath -- "$target"); fi
  (umask 022 && mkdir -p -- "$(dirname -- "$target")")
  new=$(umask 077 && mktemp -- "$target.XXXXXX")
  if ! cat >"$new"; then
    rm -f -- "$new"
    fail "$1 cannot be written."
  fi
  if [[ -z $staged ]]; then chown "root:$group" -- "$new"; fi
  chmod "$mode" -- "$new"
  mv -f -- "$new" "$target"
}

# with_settings KEY=VALUE...: the settings on standard input, with those keys of the block style set.
with_settings() {
  # In the environment, which only root can read, not among the arguments, which all can.
  EDITS=$(printf '%s\n' "$@") awk '
    BEGIN {
      count = split(ENVIRON["EDITS"], edits, "\n")
      for (i = 1; i <= count; i++) { at = index(edits[i], "="); wanted[substr(edits[i], 1, at - 1)] = substr(edits[i], at + 1) }
    }
    /^[A-Za-z_0-9]+:/ { section = $0; sub(/:.*/, "", section) }
    /^ +[A-Za-z_0-9]+:/ {
      key = $0; sub(/^ +/, "", key); sub(/:.*/, "", key); key = section "." key
      if (key in wanted) { indent = $0; sub(/[^ ].*/, "", indent); sub(/.*\./, "", key)
        print indent key ": " wanted[section "." key]; delete wanted[section "." key]; next }
    }
    { print }
    END { for (key in wanted) exit 3 }'
}

yaml_text() {
  local text=${1//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}

# check_settings FROM: that the settings on standard input are YAML, with the source that was asked for. A value over
# several lines, such as one after >-, is not what with_settings takes it for.
check_settings() {
  local code=0
  python_of_dir "WANTED=$source" -c '
import os, sys
try:
    import yaml
except ModuleNotFoundError:
    sys.exit(3)
try:
    uri = yaml.safe_load(sys.stdin.buffer)["source"]["uri"]
except (yaml.YAMLError, LookupError, TypeError):
    sys.exit(1)
sys.exit(os.environ["WANTED"] not in ("", uri))' || code=$?
  case $code in
    0) ;;
    126 | 127) fail "$dir/.venv/bin/python cannot be run by the user whose the checkout is. See: ls -ld $dir" ;;
    3) fail "$dir/.venv lacks the package yaml. Install what README.md says: pip install --require-hashes -r requirements-jetson.lock" ;;
    *) fail "$1 does not have source.uri and log.dir on one line each. Set them there by hand: ${SETTINGS} is made from it." ;;
  esac
}

install_settings() {
  local edits=() from=$staged$SETTINGS group=root new
  if [[ ! -e $from ]]; then
    from=$dir/config/local.yaml
    if [[ ! -e $from && ! -L $from ]]; then from=$dir/config/pilot.yaml; fi
    edits+=("log.dir=$LOGS")
  fi
  if $source_given; then edits+=("source.uri=$(yaml_text "$source")"); fi
  if [[ -z $staged ]]; then group=$(id -gn "$user"); fi
  if ((${#edits[@]})); then
    new=$(with_settings "${edits[@]}" <"$from") || fail "$from has no line of its own for source.uri or log.dir. Set them there by hand: ${SETTINGS} is made from it."
    check_settings "$from" <<<"$new"
  else
    new=$(<"$from")
  fi
  install_file "$SETTINGS" 0640 "$group" <<<"$new"
}

# ---- what to do ----

# Kernels are built into engines/ at the first start, and engines where the settings say so.
share_engines() {
  if [[ -z $staged && -d $dir/engines && ! -L $dir/engines ]]; then
    (
      # From within: a checkout's owner may exchange the name meanwhile, for a link to a folder of root's.
      cd -P -- "$dir/engines" && [[ $(pwd -P) == "$dir/engines" ]] || fail "$dir/engines cannot be entered."
      chgrp -- "$(id -gn "$user")" .
      # Sticky: the service may add what it builds there, and replace nothing of anybody else.
      chmod g+rwxs,o+rx,+t .
    )
  fi
}

install_service() {
  local unit
  unit=$(render) # whole, before anything is changed
  if [[ -z $staged ]] && ! id -u "$user" >/dev/null 2>&1; then
    useradd --system --user-group --no-create-home --home-dir "$STATE" --shell /usr/sbin/nologin "$user"
    say "Made the system user $user."
  fi
  install_settings
  install_file "$UNIT" 0644 root <<<"$unit"
  share_engines
  if [[ -n $staged ]]; then
    say "Staged below $staged."
    return
  fi
  if ! in_home "$dir" && ! runuser -u "$user" -- test -r "$dir/pilot.py" -a -x "$dir/.venv/bin/python"; then
    say "Warning: the user $user cannot read $dir. Let it: sudo chmod -R o+rX '$dir'"
  fi
  systemctl daemon-reload
  systemctl enable --quiet "$NAME"
  systemctl restart --no-block "$NAME" # READY comes after the model was loaded; nothing is gained by waiting here
  say "Installed and started. How it is doing: systemctl status $NAME"
  say "Settings: $SETTINGS (after a change: sudo systemctl reload $NAME)"
  say "Log: journalctl -u $NAME   Records: $LOGS/frames.jsonl"
}

uninstall_service() {
  local kept=() path
  if [[ -z $staged && -e $UNIT ]]; then systemctl disable --now --quiet "$NAME"; fi
  if [[ -e $staged$UNIT ]]; then say "Removed the service $NAME."; else say "The service $NAME is not installed."; fi
  rm -f -- "$staged$UNIT"
  rm -rf -- "$staged$CACHE"
  if [[ -z $staged ]]; then systemctl daemon-reload; fi
  for path in "$SETTINGS" "$LOGS" "$STATE" "$UNIT.d"; do
    if [[ -e $staged$path ]]; then kept+=("$path"); fi
  done
  if ((${#kept[@]})); then say "Kept: ${kept[*]}, the engines, and the user of the service."; fi
}

case $action in
  dry-run)
    check_user
    check_dir
    check_source
    render
    ;;
  uninstall)
    check_machine
    uninstall_service
    ;;
  install)
    check_user
    check_dir
    check_source
    check_machine
    install_service
    ;;
esac
