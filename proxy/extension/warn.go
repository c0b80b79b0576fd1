// SPDX-License-Identifier: Apache-2.0

package extension

// Warn returns what ledger.Ledger.Apply calls for a field without effect: it logs a
// warning that names what was configured, such as "connection manager", the field
// and the reason. The attributes are added to each.
func (s *Services) Warn(what string, attributes ...any) func(path, reason string) {
	return func(path, reason string) {
		s.Log("config").With(attributes...).Warn("a field of the "+what+" has no effect", "field", path, "reason", reason)
	}
}

// Warn is as that of Services, with the place in the configuration where it is known.
func (n *Network) Warn(what string, attributes ...any) func(path, reason string) {
	if n.Told != nil {
		return n.Told
	}
	return n.Services.Warn(what, attributes...)
}
