// SPDX-License-Identifier: Apache-2.0

package header

import (
	"fmt"
	"testing"
)

func lines(m *Map) string {
	s := ""
	for n, v := range m.All() {
		s += fmt.Sprintf("%s=%s;", n, v)
	}
	return s
}

func TestMap(t *testing.T) {
	foo := NewName("X-Foo")
	tests := []struct {
		name string
		do   func(m *Map)
		want string
	}{
		{"add keeps order", func(m *Map) { m.Add(foo, "1"); m.Add(Host, "h"); m.Add(foo, "2") }, "x-foo=1;host=h;x-foo=2;"},
		{"set replaces all at the first place", func(m *Map) { m.Add(foo, "1"); m.Add(Via, "v"); m.Add(foo, "2"); m.Set(foo, "3") }, "x-foo=3;via=v;"},
		{"set adds", func(m *Map) { m.Set(Via, "v") }, "via=v;"},
		{"del removes all", func(m *Map) { m.Add(Via, "1"); m.Add(foo, "x"); m.Add(Via, "2"); m.Del(Via) }, "x-foo=x;"},
		{"del then add", func(m *Map) { m.Add(Via, "1"); m.Del(Via); m.Add(Via, "2") }, "via=2;"},
		{"append joins", func(m *Map) { m.Add(Via, "1"); m.Append(Via, []byte("2")) }, "via=1,2;"},
		{"append adds", func(m *Map) { m.Append(foo, []byte("2")) }, "x-foo=2;"},
		{"delfunc", func(m *Map) {
			m.Add(Via, "1")
			m.Add(Via, "2")
			m.DelFunc(func(_ Name, v []byte) bool { return string(v) == "1" })
		}, "via=2;"},
		{"int", func(m *Map) { m.AddInt(ContentLength, 42); m.SetInt(ContentLength, 7) }, "content-length=7;"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var m Map
			for range 2 { // The second round runs on reused memory.
				m.Reset()
				tt.do(&m)
				if got := lines(&m); got != tt.want {
					t.Fatalf("got %s want %s", got, tt.want)
				}
				n, size := 0, 0
				for k, v := range m.All() {
					n++
					size += len(k.String()) + len(v)
				}
				if m.Len() != n || m.Size() != size {
					t.Fatalf("len %d size %d, counted %d and %d", m.Len(), m.Size(), n, size)
				}
			}
		})
	}
}

func TestGetAfterDelFunc(t *testing.T) {
	var m Map
	m.Add(Via, "1")
	m.Add(Via, "2")
	m.DelAt(0)
	if got := string(m.Get(Via)); got != "2" {
		t.Fatalf("got %q", got)
	}
	if m.Count(Via) != 1 {
		t.Fatalf("count %d", m.Count(Via))
	}
}

func TestWellKnownNamesResolve(t *testing.T) {
	for id := ID(1); id < numIDs; id++ {
		if got := Resolve([]byte(names[id])); got.ID() != id {
			t.Errorf("%s resolves to %d", names[id], got.ID())
		}
	}
	if NewName("X-Not-Known").ID() != 0 {
		t.Error("an unknown name has an id")
	}
}

func TestCopyOutlivesSource(t *testing.T) {
	buf := []byte("x-a value")
	var src, dst Map
	src.AddView(Resolve(buf[:3]), buf[4:])
	src.CopyTo(&dst)
	copy(buf, "zzzzzzzzzz")
	if got := lines(&dst); got != "x-a=value;" {
		t.Fatalf("got %s", got)
	}
}

func TestMapDoesNotAllocate(t *testing.T) {
	var m Map
	foo := NewName("x-foo")
	value := []byte("value")
	n := testing.AllocsPerRun(100, func() {
		m.Reset()
		for range 10 {
			m.AddView(Via, value)
			m.AddBytes(foo, value)
		}
		m.SetInt(ContentLength, 12345)
		m.Append(foo, value)
		m.Del(Via)
	})
	if n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestSensitive(t *testing.T) {
	var m, c Map
	m.AddView(Accept, []byte("a"))
	m.AddSensitive(Authorization, []byte("b"))
	m.AddSensitive(NewName("x-key"), []byte("c"))
	m.CopyTo(&c)
	for i, want := range []bool{false, true, true} {
		if m.Fields()[i].Sensitive() != want || c.Fields()[i].Sensitive() != want {
			t.Errorf("field %d: sensitive %t, in the copy %t, want %t", i, m.Fields()[i].Sensitive(), c.Fields()[i].Sensitive(), want)
		}
	}
	m.Reset()
	m.AddView(Accept, nil)
	if m.Fields()[0].Sensitive() {
		t.Error("a field is sensitive after Reset")
	}
}

func TestNameOf(t *testing.T) {
	for _, s := range []string{":path", "te", "x-unknown"} {
		n := NewName(s)
		if got := NameOf(n.ID(), []byte(s)); got != n {
			t.Errorf("NameOf(%d, %q) = %v", n.ID(), s, got)
		}
	}
	if got := NameOf(Accept.ID(), nil); got != Accept {
		t.Errorf("NameOf of accept = %v", got)
	}
}
