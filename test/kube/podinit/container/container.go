// SPDX-License-Identifier: Apache-2.0

// Package container is what the kubelet tells podinit about the container that it is to become. It is plain data;
// what is done with it is podinit's.
package container

// A Container is one program in a root of its own, within the network of its pod.
type Container struct {
	Root         string   // folder that becomes its /; podinit puts what is missing into it
	Network      string   // file of the pod's network namespace
	Hostname     string   // the pod's name
	Mounts       []Mount  // in the order in which they are made
	ReadOnlyRoot bool     // whether its / can not be written; mounts still can
	Command      []string // the first is looked for as it is, within its root
	Env          []string // NAME=value
	Dir          string   // where it starts; "" is /
	User, Group  int      // who it is; 0 is root
}

// A Mount shows a file or a folder of the node within the container.
type Mount struct {
	Source, Target string // of the node; of the container
	ReadOnly       bool
}

// File is the descriptor that podinit reads its Container from, as JSON.
const File = 3

// Unstarted is the status of a container whose program could not be started; shells use it for that, too.
const Unstarted = 127
