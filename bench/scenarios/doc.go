// Package scenarios changes a cluster while it is loaded, as a YAML file says, and reports what users saw of it: how long until
// the cluster noticed, until every sampled key could be written again and until all copies were in place, the bytes that moved against
// the least possible, the slowest second, failed requests, acknowledged writes that were lost, and whether the sampled keys'
// histories are linearizable.
//
// The package starts no process: that is Cluster, which whoever runs the members implements.
package scenarios
