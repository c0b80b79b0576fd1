// SPDX-License-Identifier: Apache-2.0

package hpack

import "weir.dev/weir/proxy/header"

// field is an entry of the static table.
type field struct {
	name  header.Name
	value []byte
}

// static is the static table (RFC 7541 appendix A); 0 is not used.
var static = buildStatic()

// numStatic is the highest index of the static table.
const numStatic = 61

func buildStatic() (t [numStatic + 1]field) {
	for i, f := range [numStatic][2]string{
		{":authority"}, {":method", "GET"}, {":method", "POST"}, {":path", "/"}, {":path", "/index.html"},
		{":scheme", "http"}, {":scheme", "https"}, {":status", "200"}, {":status", "204"}, {":status", "206"},
		{":status", "304"}, {":status", "400"}, {":status", "404"}, {":status", "500"}, {"accept-charset"},
		{"accept-encoding", "gzip, deflate"}, {"accept-language"}, {"accept-ranges"}, {"accept"},
		{"access-control-allow-origin"}, {"age"}, {"allow"}, {"authorization"}, {"cache-control"},
		{"content-disposition"}, {"content-encoding"}, {"content-language"}, {"content-length"},
		{"content-location"}, {"content-range"}, {"content-type"}, {"cookie"}, {"date"}, {"etag"}, {"expect"},
		{"expires"}, {"from"}, {"host"}, {"if-match"}, {"if-modified-since"}, {"if-none-match"}, {"if-range"},
		{"if-unmodified-since"}, {"last-modified"}, {"link"}, {"location"}, {"max-forwards"},
		{"proxy-authenticate"}, {"proxy-authorization"}, {"range"}, {"referer"}, {"refresh"}, {"retry-after"},
		{"server"}, {"set-cookie"}, {"strict-transport-security"}, {"transfer-encoding"}, {"user-agent"},
		{"vary"}, {"via"}, {"www-authenticate"},
	} {
		t[i+1] = field{header.NewName(f[0]), []byte(f[1])}
	}
	return t
}

// staticIndex has, for each well-known name, the lowest index of the static
// table with that name, or 0.
var staticIndex = buildStaticIndex()

func buildStaticIndex() (t [256]uint8) {
	for i := numStatic; i > 0; i-- {
		t[static[i].name.ID()] = uint8(i)
	}
	t[0] = 0
	return t
}

// otherStatic is staticIndex for the names of the static table that are not
// well-known.
func otherStatic(name string) uint8 {
	switch name {
	case "accept-charset":
		return 15
	case "content-disposition":
		return 25
	case "content-location":
		return 29
	case "from":
		return 37
	case "if-range":
		return 42
	case "if-unmodified-since":
		return 43
	case "max-forwards":
		return 47
	case "refresh":
		return 52
	}
	return 0
}
