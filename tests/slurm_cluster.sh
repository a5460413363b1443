#!/usr/bin/env bash
# A Slurm of three nodes on this one machine, for tests: slurm_cluster.sh start|stop FOLDER
# Needs root and the packages slurmctld, slurmd, slurm-client, munge and slurm-wlm-basic-plugins. It listens on ports of
# its own and writes below FOLDER alone; use it with SLURM_CONF=FOLDER/slurm.conf.
set -euo pipefail
action=$1
mkdir -p "$2"
folder=$(realpath "$2")

configure() {
  cat > "$folder/slurm.conf" <<CONF
ClusterName=mixlang
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$folder/munge/socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=0
KillWait=10
StateSaveLocation=$folder/ctld
SlurmdSpoolDir=$folder/d.%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.%n.log
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SchedulerParameters=sched_interval=1,bf_interval=1
NodeName=n[1-3] NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=17101-17103 CPUs=2 RealMemory=6000 State=UNKNOWN
PartitionName=debug Nodes=n[1-3] Default=YES MaxTime=INFINITE State=UP
CONF
}

start() {
  mkdir -p "$folder"/ctld "$folder"/d.n{1,2,3} "$folder"/munge
  configure
  # munge insists on folders and a key that nobody else can change.
  head -c 1024 /dev/urandom > "$folder/munge/key"
  chmod 711 "$folder" "$folder/munge"
  chmod 600 "$folder/munge/key"
  chown -R munge: "$folder/munge"
  local parent=$folder
  while parent=$(dirname "$parent"); [ "$parent" != / ] && [ "$parent" != /tmp ]; do chmod a+x "$parent"; done
  su munge -s /bin/sh -c "munged --force --key-file='$folder/munge/key' --socket='$folder/munge/socket' \
    --pid-file='$folder/munge/pid' --log-file='$folder/munge/log' --seed-file='$folder/munge/seed'"
  export SLURM_CONF=$folder/slurm.conf
  slurmctld
  for node in n1 n2 n3; do slurmd -N $node; done
  for _ in $(seq 60); do
    [ "$(sinfo --noheader --Node --format=%T 2> /dev/null | grep -c idle)" = 3 ] && return
    sleep 0.5
  done
  echo "the nodes did not come up; see $folder/*.log" >&2
  exit 1
}

stop() {
  SLURM_CONF=$folder/slurm.conf timeout 20 scancel --user="$(id -u)" 2> /dev/null || true
  for pid in "$folder"/slurmd.*.pid "$folder"/slurmctld.pid "$folder"/munge/pid; do
    [ -f "$pid" ] && kill "$(cat "$pid")" 2> /dev/null || true
  done
}

$action
