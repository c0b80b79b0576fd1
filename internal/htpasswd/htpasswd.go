// SPDX-License-Identifier: Apache-2.0

// Package htpasswd reads users and passwords as htpasswd(1) writes them with -s: the
// control plane, to tell what is wrong with them, and proxies, to let people in.
package htpasswd

import (
	"crypto/sha1" //nolint:gosec // It is what htpasswd -s writes, and all that Envoy takes.
	"encoding/base64"
	"fmt"
	"strings"
)

// Users are the SHA-1 of passwords by the users' names.
type Users map[string][sha1.Size]byte

// Parse reads lines NAME:{SHA}HASH. Empty ones, and those that begin with #, say nothing.
func Parse(text []byte) (Users, error) {
	users := Users{}
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		name, password, ok := strings.Cut(line, ":")
		if !ok || name == "" || password == "" {
			return nil, fmt.Errorf("line %d is not NAME:PASSWORD", number)
		}
		if _, twice := users[name]; twice {
			return nil, fmt.Errorf("line %d: the user %q is there already", number, name)
		}
		encoded, ok := strings.CutPrefix(password, "{SHA}")
		sum, err := base64.StdEncoding.DecodeString(encoded)
		if !ok || err != nil || len(sum) != sha1.Size {
			return nil, fmt.Errorf("line %d: the password of %q is not {SHA} and 28 characters: make it by htpasswd -s", number, name)
		}
		users[name] = [sha1.Size]byte(sum)
	}
	return users, nil
}
