// Package faults breaks a running cluster under load and judges what its clients saw.
//
// Run starts the load (registers, unique inserts, lists grown by compare-and-set, counters, expiring keys), does one fault
// after the other from a schedule that a seed decides, heals everything, reads back every acknowledged write, and reports:
// the faults with the proof that they happened and how long recovery took, the operations by outcome, the longest times
// without an acknowledged write, and a verdict of every check.
//
// # What is checked
//
//   - registers: Porcupine, a key at a time. Hot keys are written under ever new names within the same partition, so that a
//     history stays short enough to be judged; one that is not judged in time is a failure, not a pass.
//   - every acknowledged write is there after healing, with its bytes and version; no refused one ever appears.
//   - versions of a key only rise, in real time.
//   - lists: each read is a continuation of the one before, every acknowledged element is there once.
//   - counters: no number is given out twice, the sum is what was acknowledged, plus at most what is unknown.
//   - expiring keys: readable until they expire, and never after they were once seen gone.
//   - one primary an epoch: no two nodes answer under one epoch of a partition.
//   - copies: all replicas of a partition are equal to the byte at the same sequence number.
//
// # What it needs from outside
//
// The package starts no process and cuts no link: that is Cluster, and optionally Network and Disks, which whoever runs the
// processes implements. It talks to the cluster as any client does, through a Store.
//
// A run with fewer effective faults or acknowledged writes than asked for proves nothing: it is void, which is neither a
// pass nor a violation.
package faults
