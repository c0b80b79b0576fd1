// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"slices"

	"weir.dev/weir/internal/memo"
)

// Tables are the hosts of tables, for a dialect that finds all of a table at once. A change
// of them costs as much as there are, though no more than the change reaches what follows.
type Tables[H comparable] struct {
	index *memo.Index[TableID, TableID, H]
}

// NewTables returns the Tables of which read returns the hosts, each once. Order is the
// order of two hosts.
func NewTables[H comparable](read func(*memo.Ctx, TableID) []H, order func(a, b H) int) *Tables[H] {
	return &Tables[H]{memo.NewIndex(func(c *memo.Ctx, id TableID) []memo.Pair[TableID, H] {
		hosts := slices.SortedFunc(slices.Values(read(c, id)), order)
		out := make([]memo.Pair[TableID, H], len(hosts))
		for i, h := range hosts {
			out[i] = memo.Pair[TableID, H]{Bucket: id, Member: h}
		}
		return out
	}, order)}
}

// FollowHosts has the DB's Settle report which hosts come into a table and leave it, for
// HostsOf.
func (t *Tables[H]) FollowHosts(db *memo.DB, table TableID) {
	t.index.Add(db, table)
	t.index.Follow(db, table)
}

// UnfollowHosts is the opposite of FollowHosts.
func (t *Tables[H]) UnfollowHosts(db *memo.DB, table TableID) {
	t.index.Unfollow(table)
	t.index.Remove(db, table)
}

// HostsOf returns a table, the hosts that came into it and those that left it, if a change
// reported by Settle is one of those.
func (t *Tables[H]) HostsOf(ch memo.Change) (table TableID, came, left []HostID, ok bool) {
	table, c, l, ok := t.index.Followed(ch)
	return table, HostIDs(c), HostIDs(l), ok
}

// HostIDs returns hosts as only their dialect understands them.
func HostIDs[H comparable](hosts []H) []HostID {
	out := make([]HostID, len(hosts))
	for i, h := range hosts {
		out[i] = h
	}
	return out
}
