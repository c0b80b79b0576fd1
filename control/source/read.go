// SPDX-License-Identifier: Apache-2.0

package source

import "weir.dev/weir/internal/memo"

// Input returns the View that translation reads. What is read of it otherwise than
// by Get, Names, List and Find is not recorded.
func Input(c *memo.Ctx) *View { return c.Input().(*View) }

// Get returns the object called name of a kind, whose type is T, and whether there
// is one.
func Get[T Object](c *memo.Ctx, k Kind, name Name) (T, bool) {
	key := Key{k, name}
	c.Read(key)
	o, ok := Input(c).Get(key).(T)
	return o, ok
}

// Names returns where the objects of a kind are. It depends on which there are, and
// not on what they say.
func Names(c *memo.Ctx, k Kind) []Name {
	c.Read(allOf{k})
	return Input(c).Names(k)
}

// List returns the objects of a kind in a namespace, by name.
func List[T Object](c *memo.Ctx, k Kind, namespace string) []T {
	c.Read(inNamespace{k, namespace})
	return typed[T](Input(c).in(k, namespace))
}

// Find returns the objects that an index has under a name, by their names.
func Find[T Object](c *memo.Ctx, x *Index, name Name) []T {
	c.Read(indexed{x, name})
	return typed[T](Input(c).under(x, name))
}

func typed[T Object](l list) []T {
	out := make([]T, 0, l.Len())
	for _, e := range l.All() {
		if o, ok := e.object.(T); ok {
			out = append(out, o)
		}
	}
	return out
}
