// SPDX-License-Identifier: Apache-2.0

package header

import "testing"

// TestOwn: what the views led to may be used again.
func TestOwn(t *testing.T) {
	buf := []byte("x-custom one two gone")
	var m Map
	m.AddView(Resolve(buf[:8]), buf[9:12])
	m.AddView(Host, buf[13:16])
	m.AddView(NewName("x-gone"), buf[17:])
	m.Del(NewName("x-gone"))
	size := m.Size()
	m.Own()
	for i := range buf {
		buf[i] = '#'
	}
	if got := string(m.Get(NewName("x-custom"))) + string(m.Get(Host)); got != "onetwo" || m.Len() != 2 || m.Size() != size || m.Has(NewName("x-gone")) {
		t.Errorf("%q, %d fields of %d bytes", got, m.Len(), m.Size())
	}
}
