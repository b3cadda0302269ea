// Package e2e holds the tests of whole clusters: in one process, and as the processes of the real binary, killed and
// started again. It has no code of its own.
//
// KRING_E2E_KEYS sets how many keys are written (default 3,000), KRING_E2E_LOAD how long load goes on (default 3 s),
// KRING_E2E_SEED what decides the faults (printed), KRING_E2E_KINDS which kinds there are, KRING_E2E_REPORTS a directory that gets the fault runs' reports;
// -short leaves the tests out.
package e2e
