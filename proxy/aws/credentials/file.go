// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"weir.dev/weir/proxy/aws/sign"
)

// profileFile is a credentials file; what is empty is the environment's.
type profileFile struct {
	from    *source
	profile string
}

func (f *profileFile) find(e *Environment) (*found, error) {
	from := f.from
	if from == nil {
		from = &source{file: e.credentialsFile()}
	}
	name := f.profile
	if name == "" {
		name = e.profile()
	}
	text, err := from.read(e)
	if err != nil {
		return nil, err
	}
	values, ok := section(string(text), name)
	if !ok {
		return nil, absent("the file has no profile [%s]", name)
	}
	c := sign.Credentials{AccessKeyID: values["aws_access_key_id"], SecretAccessKey: values["aws_secret_access_key"], SessionToken: values["aws_session_token"]}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return nil, fmt.Errorf("the profile [%s] lacks aws_access_key_id or aws_secret_access_key", name)
	}
	return &found{creds: c}, nil
}

func (e *Environment) credentialsFile() string {
	if v := e.get("AWS_SHARED_CREDENTIALS_FILE"); v != "" {
		return v
	}
	return filepath.Join(e.get("HOME"), ".aws", "credentials")
}

func (e *Environment) configFile() string {
	if v := e.get("AWS_CONFIG_FILE"); v != "" {
		return v
	}
	return filepath.Join(e.get("HOME"), ".aws", "config")
}

func (e *Environment) profile() string {
	if v := e.get("AWS_PROFILE"); v != "" {
		return v
	}
	return "default"
}

// section returns the settings of a section of an AWS file, by their names in lower
// case; those of the first section if several have the name.
func section(text, name string) (map[string]string, bool) {
	var values map[string]string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			if values != nil {
				return values, true
			}
			if head, _, ok := strings.Cut(line[1:], "]"); ok && strings.TrimSpace(head) == name {
				values = map[string]string{}
			}
		case values != nil:
			if k, v, ok := strings.Cut(line, "="); ok {
				values[strings.ToLower(strings.TrimSpace(k))] = strings.TrimSpace(v)
			}
		}
	}
	return values, values != nil
}

// Region returns the region for signatures where the configuration names none: the
// environment's, that of the credentials file, or of the configuration file.
func (s *Set) Region() (string, error) {
	return s.env.setting("region", "AWS_REGION", "AWS_DEFAULT_REGION")
}

// RegionSet is as Region, for the set of regions that signatures of version 4A are for.
func (s *Set) RegionSet() (string, error) {
	return s.env.setting("sigv4a_signing_region_set", "AWS_SIGV4A_SIGNING_REGION_SET")
}

func (e *Environment) setting(name string, variables ...string) (string, error) {
	for _, v := range variables {
		if s := e.get(v); s != "" {
			return s, nil
		}
	}
	profile := e.profile()
	inConfig := profile
	if profile != "default" {
		inConfig = "profile " + profile
	}
	for _, f := range []struct{ file, section string }{{e.credentialsFile(), profile}, {e.configFile(), inConfig}} {
		text, err := readFile(f.file)
		if errors.Is(err, errAbsent) {
			continue
		}
		if err != nil {
			return "", err
		}
		values, _ := section(string(text), f.section)
		if v := values[name]; v != "" {
			return v, nil
		}
	}
	return "", fmt.Errorf("none is configured, %s is not set, and neither %s nor %s has %s for the profile %s",
		strings.Join(variables, " or "), e.credentialsFile(), e.configFile(), name, profile)
}
