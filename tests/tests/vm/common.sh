# Read by the scripts beside it, inside the virtual machine: sentences, and containers.
lab=/var/lib/lab
mkdir -p $lab && cd $lab || exit 1

# sentence SENTENCE WANTED COMMAND…: says `PASS SENTENCE` when status and output, as "STATUS OUTPUT", match the pattern,
# and `FAIL SENTENCE: …` when not.
sentence() {
    name=$1 wanted=$2
    shift 2
    got=$("$@" 2>&1)
    got="$? $(echo "$got" | tr '\0\n\t' '   ' | sed 's/ *$//')"
    # shellcheck disable=SC2254  # a pattern on purpose
    case $got in
        $wanted) echo "PASS $name" ;;
        *) echo "FAIL $name: wanted <$wanted>, got <$got>" ;;
    esac
}

# container RUNTIME NAME EDIT…: pod shop/NAME, which sleeps and is registered by the hook; EDIT are sed's, of config.json.
container() {
    runtime=$1 name=$2 dir=$lab/$2 hook=${HOOK:-/usr/libexec/porthole/porthole-hook}
    shift 2
    mkdir -p "$dir/rootfs/bin" && cp /bin/busybox "$dir/rootfs/bin/" && echo "of $name" >"$dir/rootfs/secret" || return
    entry() {
        printf '{"path":"/bin/sh","args":["sh","-c","test -x %s && exec %s %s; while read -r x; do :; done"],"timeout":10}' \
            $hook $hook "$1"
    }
    hooks="{\"createRuntime\":[$(entry createRuntime)],\"poststop\":[$(entry poststop)]}"
    pod="\"io.kubernetes.cri.container-type\":\"container\",\"io.kubernetes.cri.sandbox-id\":\"box-$name\""
    pod="$pod,\"io.kubernetes.cri.sandbox-name\":\"$name\",\"io.kubernetes.cri.sandbox-namespace\":\"shop\""
    pod="$pod,\"io.kubernetes.cri.container-name\":\"app\""
    (cd "$dir" && $runtime spec) && sed -i "$@" -e 's/"terminal": true/"terminal": false/' \
        -e 's#"sh"#"/bin/busybox", "sleep", "1000"#' \
        -e "1s#{#{\"hooks\": $(echo "$hooks" | sed 's/&/\\&/g'), \"annotations\": {$pod},#" "$dir/config.json" || return
    $runtime --log "$dir/log" run --detach --pid-file "$dir/pid" --bundle "$dir" "$name" </dev/null >/dev/null 2>&1 ||
        { cat "$dir/log"; return 1; }
}

# wait_for COMMAND…: until it succeeds.
wait_for() {
    for _ in $(seq 150); do
        ! "$@" >/dev/null 2>&1 || return 0
        sleep 0.2
    done
    return 1
}

pid_of() { cat "$lab/$1/pid"; }

# start COMMAND…: in the background, until it has become `sleep`: the pids of porthole and of the command.
start() {
    "$@" >/dev/null 2>&1 &
    porthole=$!
    for _ in $(seq 100); do
        for command in $(cat /proc/$porthole/task/$porthole/children); do
            # With -p the first child is the launcher, which ends.
            [ "$(cat "/proc/$command/comm" 2>/dev/null)" != sleep ] || return 0
        done
        sleep 0.2
    done
    return 1
}

# Kills porthole, and waits for the command to go as well.
dies() {
    kill -9 "$porthole"
    for _ in $(seq 50); do
        # Nobody may have asked yet how it ended.
        [ "$(cut -d' ' -f3 "/proc/$command/stat" 2>/dev/null || echo Z)" != Z ] || return 0
        sleep 0.2
    done
    return 1
}
