// SPDX-License-Identifier: Apache-2.0

package v1

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"weir.dev/weir/xds/legacy/tree"
)

// place sets what path says in a message, whose inner messages are made.
func place(m, at *yaml.Node, path string, value *yaml.Node) {
	for {
		first, rest, more := strings.Cut(path, ".")
		if !more {
			tree.Put(m, at, path, value)
			return
		}
		m, path = tree.Inner(m, at, first), rest
	}
}

// required marks a field that must be there.
func required(f field) field {
	f.need = true
	return f
}

// same is for a field that both versions have.
func same(names ...string) (out []field) {
	for _, name := range names {
		out = append(out, moved(name, name, ""))
	}
	return out
}

// moved is for a value that stands elsewhere.
func moved(name, to, why string) field {
	return field{name: name, to: to, why: why, put: func(_ *conversion, f field, o object, key, value *yaml.Node) {
		place(o.out, key, f.to, value)
	}}
}

// dropped is for what means nothing any more.
func dropped(name, why string) field { return field{name: name, why: why} }

// refused is for what nothing does any more.
func refused(name, reason, remedy string) field {
	return field{name: name, to: nowhere, why: reason, put: func(c *conversion, f field, o object, key, _ *yaml.Node) {
		c.Refuse(key, o.at(f.name), f.why, remedy)
	}}
}

// made is for a value that form makes another one of; nil is for what was refused.
func made(name, to, why string, form func(c *conversion, value *yaml.Node, path string) *yaml.Node) field {
	return field{name: name, to: to, why: why, put: func(c *conversion, f field, o object, key, value *yaml.Node) {
		if v := form(c, value, o.at(f.name)); v != nil {
			place(o.out, key, f.to, v)
		}
	}}
}

const durationWhy = "durations have a unit"

// millis is for a duration in milliseconds, seconds for one in seconds.
func millis(name, to string) field {
	return made(name, to, durationWhy, func(c *conversion, v *yaml.Node, path string) *yaml.Node { return c.duration(v, path, 1000) })
}

func seconds(name, to string) field {
	return made(name, to, durationWhy, func(c *conversion, v *yaml.Node, path string) *yaml.Node { return c.duration(v, path, 1) })
}

// duration writes a whole number of 1/per seconds as protobuf does.
func (c *conversion) duration(n *yaml.Node, path string, per int64) *yaml.Node {
	v, err := strconv.ParseInt(n.Value, 10, 64)
	// 10,000 years are the most that a Duration holds.
	if n.Kind != yaml.ScalarNode || err != nil || v < 0 || v/per > 315_576_000_000 {
		unit := "seconds"
		if per == 1000 {
			unit = "milliseconds"
		}
		c.wrong(n, path, "a whole number of "+unit)
		return nil
	}
	text := strconv.FormatInt(v/per, 10)
	if rest := v % per; rest != 0 {
		text += strings.TrimRight("."+strconv.FormatInt(per+rest, 10)[1:], "0")
	}
	return tree.Text(n, text+"s")
}

// upper is for a value of an enum, which v3 writes in capitals.
func upper(name, to string, words ...string) field {
	return made(name, to, "values of enums are in capitals", func(c *conversion, v *yaml.Node, path string) *yaml.Node {
		if v.Kind != yaml.ScalarNode || !slices.Contains(words, v.Value) {
			c.choice(v, path, words)
			return nil
		}
		return tree.Text(v, strings.ToUpper(v.Value))
	})
}

// choice refuses a value that is none of a few.
func (c *conversion) choice(n *yaml.Node, path string, words []string) {
	if n.Kind != yaml.ScalarNode {
		c.wrong(n, path, "one of "+strings.Join(words, ", "))
		return
	}
	c.Unknown(n, path, "value", n.Value, slices.Values(words), "want one of "+strings.Join(words, ", "))
}

// nested is for an object that becomes a message.
func nested(name, to, why string, inner func() schema) field {
	f := made(name, to, why, func(c *conversion, v *yaml.Node, path string) *yaml.Node { return c.object(v, path, inner()) })
	f.inner = inner
	return f
}

// flat is for an object whose fields go into the message that it stands in.
func flat(name, why string, inner func() schema) field {
	return field{name: name, to: "the fields beside it", why: why, inner: inner, put: func(c *conversion, f field, o object, _, value *yaml.Node) {
		c.into(object{in: value, out: o.out, path: o.at(f.name)}, inner())
	}}
}

// many is for a list of objects that become messages.
func many(name, to, why string, inner func() schema) field {
	f := made(name, to, why, func(c *conversion, v *yaml.Node, path string) *yaml.Node {
		return c.list(v, path, func(item *yaml.Node, at string) *yaml.Node { return c.object(item, at, inner()) })
	})
	f.inner = inner
	return f
}

// list converts the elements of a list; those that are refused are left out.
func (c *conversion) list(v *yaml.Node, path string, form func(item *yaml.Node, path string) *yaml.Node) *yaml.Node {
	out := tree.List(v)
	for i, item := range c.items(v, path) {
		if m := form(item, element(path, i)); m != nil {
			out.Content = append(out.Content, m)
		}
	}
	return out
}

// texts is for a list of texts each of which becomes what form makes of it.
func texts(name, to, why string, form func(item *yaml.Node) *yaml.Node) field {
	return made(name, to, why, func(c *conversion, v *yaml.Node, path string) *yaml.Node {
		return c.list(v, path, func(item *yaml.Node, at string) *yaml.Node {
			if _, ok := c.text(item, at); !ok {
				return nil
			}
			return form(item)
		})
	})
}

// split is for a text that lists, and becomes a list.
func split(name, to, separator string) field {
	return made(name, to, "lists are lists", func(c *conversion, v *yaml.Node, path string) *yaml.Node {
		text, ok := c.text(v, path)
		if !ok {
			return nil
		}
		out := tree.List(v)
		for item := range strings.SplitSeq(text, separator) {
			if item = strings.TrimSpace(item); item != "" {
				out.Content = append(out.Content, tree.Text(v, item))
			}
		}
		return out
	})
}

// with tells the schema of what stands in a field that a form of its own converts.
func with(inner func() schema, f field) field {
	f.inner = inner
	return f
}

// file is for the name of a file, which becomes a DataSource.
func file(name, to string) field {
	return made(name, to, "what a file holds can come from elsewhere", func(_ *conversion, v *yaml.Node, _ string) *yaml.Node {
		return tree.Map(v, "filename", v)
	})
}

// headers is for headers to add.
func headers(name string) field {
	return made(name, name, "", func(c *conversion, v *yaml.Node, path string) *yaml.Node {
		return c.list(v, path, func(item *yaml.Node, at string) *yaml.Node {
			header := c.object(item, at, schema{name: "header", message: core + "HeaderValue", fields: []field{
				required(moved("key", "key", "")), required(moved("value", "value", "")),
			}})
			if header == nil {
				return nil
			}
			return tree.Map(item, "header", header)
		})
	})
}

// percent is for a share in percent.
func percent(name, to string) field {
	return made(name, to, "shares are fractions", func(_ *conversion, v *yaml.Node, _ string) *yaml.Node { return hundredth(v, v) })
}

func hundredth(at, numerator *yaml.Node) *yaml.Node {
	return tree.Map(at, "numerator", numerator, "denominator", "HUNDRED")
}

// address is for a URL: tcp://host:port, or unix:///path.
func address(name, to string) field {
	return made(name, to, "an address is not a URL", func(c *conversion, v *yaml.Node, path string) *yaml.Node { return c.url(v, path) })
}

func (c *conversion) url(n *yaml.Node, path string) *yaml.Node {
	text, ok := c.text(n, path)
	if !ok {
		return nil
	}
	if name, ok := strings.CutPrefix(text, "unix://"); ok {
		return tree.Map(n, "pipe", tree.Map(n, "path", name))
	}
	name, tcp := strings.CutPrefix(text, "tcp://")
	if !tcp {
		c.Refuse(n, path, tree.Quote(text)+" is not an address", `write "tcp://127.0.0.1:8080" or "unix:///run/a.sock"`)
		return nil
	}
	return c.hostPort(n, path, name)
}

// hostPort reads host:port.
func (c *conversion) hostPort(n *yaml.Node, path, text string) *yaml.Node {
	colon := strings.LastIndexByte(text, ':')
	port, err := strconv.ParseUint(text[colon+1:], 10, 16)
	if colon <= 0 || err != nil {
		c.Refuse(n, path, tree.Quote(n.Value)+" has no host and port", `write "127.0.0.1:8080" after what it begins with`)
		return nil
	}
	host := strings.TrimSuffix(strings.TrimPrefix(text[:colon], "["), "]")
	return socketAddress(n, host, int(port))
}

func socketAddress(at *yaml.Node, host string, port any) *yaml.Node {
	return tree.Map(at, "socket_address", tree.Map(at, "address", host, "port_value", port))
}

// port is for the dialect of the first releases: a port of all addresses.
func port() field {
	return made("port", "address", "the first dialect of v1 has ports alone", func(_ *conversion, v *yaml.Node, _ string) *yaml.Node {
		return socketAddress(v, "0.0.0.0", v)
	})
}

// all joins lists of fields.
func all(lists ...[]field) (out []field) {
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

// Names that several tables use.
const (
	core    = "envoy.config.core.v3."
	ext     = "envoy.extensions."
	prefix  = "type.googleapis.com/"
	network = ext + "filters.network."
	http    = ext + "filters.http."
)

// typed makes an extension: its name, and its configuration with a type.
func typed(at *yaml.Node, name, message string, config *yaml.Node) *yaml.Node {
	fields := tree.Map(at, "@type", prefix+message)
	fields.Content = append(fields.Content, config.Content...)
	return tree.Map(at, "name", name, "typed_config", fields)
}
