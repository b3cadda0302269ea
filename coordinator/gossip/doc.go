// Package gossip keeps the list of a cluster's processes (coordinators, nodes, gateways) with hashicorp/memberlist, and
// says which of them are alive. It is a hint, never a decision: what the coordinators decide rests on heartbeats and raft.
//
// memberlist has traps that this package closes, so that nobody else has to know them:
//
//   - Members() inside an event callback deadlocks. Callbacks here only update a map of our own and raise a flag.
//   - A restart on the same address shows as an update, and a known name on a new port is ignored for a while. Members are
//     therefore named role/id/boot-id, the boot id being random at every start, and carry it in their metadata too.
//     The role is part of the name because ids are told apart only within one: a host's coordinator, node and gateway may
//     share an id.
//   - Two members of one name see only themselves, without an error. The boot id makes names unique; two live boots of one
//     role and id are reported (Member.Rivals).
//   - Metadata beyond 512 bytes panics. New refuses it.
//   - A host name as BindAddr silently binds every interface. Only IPs are taken.
//   - Without a label, two clusters that meet merge. The label is the cluster's name and must be set.
//   - A member that leaves reads as alive in the event that says so. The event itself is what counts here, and a clean stop
//     is announced in the metadata first.
//   - LocalNode hands out what later updates write to, without a lock. It is not used.
//   - Dead members are forgotten after a while, so a cut that lasts longer is never healed. Run keeps calling at the
//     addresses of Config.Join that no live member has.
package gossip
