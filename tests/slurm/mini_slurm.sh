#!/usr/bin/env bash
# A real Slurm of one node on this host, for tests, in a folder of its own and touching nothing else:
#   mini_slurm.sh up DIR     installs Debian's packages when they are missing, starts munged, slurmctld and
#                            slurmd, waits for the node; exit 77 when Slurm cannot be had here
#   mini_slurm.sh down DIR   cancels what runs, ends the three daemons
# Use it with SLURM_CONF=DIR/slurm.conf.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
what=$1 dir=$2
export SLURM_CONF=$dir/slurm.conf

skip() {
    echo "mini_slurm: $*" >&2
    exit 77
}

programs() { command -v munged slurmctld slurmd sbatch scontrol >/dev/null; }

install_packages() {
    local packages=(slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge)
    command -v apt-get >/dev/null || skip "no Slurm and no apt-get here"
    export DEBIAN_FRONTEND=noninteractive
    # Nothing may be started by the installation: the tests start their own.
    local policy=/usr/sbin/policy-rc.d made=
    [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && made=1; }
    apt-get install -y --no-install-recommends "${packages[@]}" >"$dir/apt.log" 2>&1 ||
        { apt-get update && apt-get install -y --no-install-recommends "${packages[@]}"; } >>"$dir/apt.log" 2>&1 ||
        true
    [ -z "$made" ] || rm -f $policy
    programs || skip "Debian's Slurm packages could not be installed (see $dir/apt.log)"
}

# A process is known by its number and its start, so that a later one with the same number is safe.
start_of() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f1,20; }
launch() {
    local name=$1
    shift
    setsid "$@" </dev/null >"$dir/$name.out" 2>&1 &
    local pid=$!
    sleep 0.1
    echo "$pid $(start_of $pid | cut -d' ' -f2)" >"$dir/$name.pid"
}
running() {
    local pid start state began
    read -r pid start <"$dir/$1.pid" 2>/dev/null || return 1
    read -r state began <<<"$(start_of "$pid")"
    [ "$began" = "$start" ] && [ "$state" != Z ]
}
until_true() { # SECONDS COMMAND...
    local left=$(($1 * 10))
    shift
    while [ $left -gt 0 ]; do
        ! "$@" >/dev/null 2>&1 || return 0
        sleep 0.1
        left=$((left - 1))
    done
    return 1
}

free_port() {
    local port
    for port in $(shuf -i 20000-45000 -n 50); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port" && return; }
    done
}

configure() {
    local cpus=4 host
    host=$(hostname -s)
    mkdir -p "$dir"/{state,spool,tmp,munge}
    chmod 755 "$dir"
    chmod 711 "$dir/munge"
    head -c 128 /dev/urandom >"$dir/munge/key"
    chmod 600 "$dir/munge/key"
    cat >"$dir/slurm.conf" <<EOF
ClusterName=superclip_test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$dir/munge/socket
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
TmpFS=$dir/tmp
SlurmctldPidFile=$dir/slurmctld.self
SlurmdPidFile=$dir/slurmd.self
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
KillWait=5
JobRequeue=1
PropagateResourceLimits=NONE
NodeName=mini NodeHostname=$host NodeAddr=127.0.0.1 Port=$(free_port) CPUs=$cpus CoresPerSocket=$cpus RealMemory=1000
PartitionName=main Nodes=mini Default=YES MaxTime=INFINITE State=UP
EOF
    echo 'CgroupAutomount=no' >"$dir/cgroup.conf"
}

up() {
    [ "$(id -u)" = 0 ] || skip "a Slurm of one's own needs root"
    mkdir -p "$dir"
    programs || install_packages
    configure
    launch munged munged -F -f --key-file="$dir/munge/key" --socket="$dir/munge/socket" \
        --pid-file="$dir/munge/pid" --log-file="$dir/munged.log" --seed-file="$dir/munge/seed"
    until_true 10 munge -S "$dir/munge/socket" -n || skip "munged does not answer (see $dir/munged.log)"
    launch slurmctld slurmctld -D -i -f "$SLURM_CONF"
    until_true 20 sh -c 'scontrol ping | grep -q UP' || skip "slurmctld does not answer (see $dir/slurmctld.log)"
    launch slurmd slurmd -D -N mini -f "$SLURM_CONF"
    until_true 20 sh -c '[ "$(sinfo -h -o %T)" = idle ]' || skip "the node does not come up (see $dir/slurmd.log)"
}

down() {
    if running slurmctld; then
        scancel -u root >/dev/null 2>&1 || true
        until_true 15 sh -c '[ -z "$(squeue -h -o %A)" ]' || true
    fi
    local name pid
    for name in slurmd slurmctld munged; do
        running $name || continue
        read -r pid _ <"$dir/$name.pid"
        kill -TERM "$pid"
        until_true 10 sh -c "! kill -0 $pid" || { ! running $name || kill -KILL "$pid"; }
    done
}

case $what in
up) up ;;
down) down ;;
*) echo "usage: mini_slurm.sh up|down DIR" >&2 && exit 1 ;;
esac
