// A vSphere that we did not write: govmomi's simulator, as a small program for the driver's tests.
// It prints the URL it serves, then runs until its standard input closes.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"net/url"
	"os"

	"github.com/vmware/govmomi/simulator"
)

func main() {
	esx := flag.Bool("esx", false, "be a standalone host instead of a vCenter")
	listen := flag.String("listen", "127.0.0.1:0", "address to serve at")
	hosts := flag.Int("hosts", 3, "hosts of the cluster")
	pools := flag.Int("pools", 2, "resource pools in the cluster")
	datastores := flag.Int("datastores", 3, "datastores of a vCenter")
	folders := flag.Int("folders", 1, "levels of folders around the datacenter and its objects")
	machines := flag.Int("machines", 0, "virtual machines in each resource pool, or on the host")
	taskDelay := flag.Int("task-delay", 0, "milliseconds that every task takes")
	flag.Parse()

	model := simulator.VPX()
	if *esx {
		model = simulator.ESX()
	} else {
		model.ClusterHost, model.Pool, model.Datastore, model.Folder = *hosts, *pools, *datastores, *folders
	}
	model.Machine, model.Autostart = *machines, false
	if err := model.Create(); err != nil {
		log.Fatal(err)
	}
	defer model.Remove()
	if *taskDelay > 0 {
		// The objects stay readable meanwhile.
		simulator.TaskDelay = simulator.DelayConfig{Delay: *taskDelay, MethodDelay: map[string]int{"LockHandoff": 0}}
	}
	model.Service.TLS = new(tls.Config)
	model.Service.Listen = &url.URL{Host: *listen, User: url.UserPassword("user", "pass")}
	fmt.Println(model.Service.NewServer().URL)
	// Server.Close would wait for the client's idle connections.
	_, _ = io.Copy(io.Discard, os.Stdin)
}
