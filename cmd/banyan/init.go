package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"banyan/coordinator/api"
	"banyan/transport/identity"
)

func newInit(a *app) *cobra.Command {
	var (
		regions   []string
		publisher string
		hosts     []string
	)
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Create a fleet's keys, certificates and trust policy",
		Long: `Create in the directory --home what a fleet's trust is based on: a root key that signs the
trust policy, a publisher key, an activation key for each region, the authority that
issues node certificates, a bundle for each region's coordinator, and a bundle for you.
Move root.key and ca.key to a safe place afterwards.`,
		Example: "  banyan init --home fleet --regions eu,us --host eu.example.com --host us.example.com",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			h, err := identity.InitHome(a.home, regions, publisher, hosts...)
			if err != nil {
				return err
			}
			out := map[string]any{"home": h.Dir, "regions": regions, "publisher": publisher}
			return a.print(out, func(w io.Writer) {
				fmt.Fprintf(w, "created %s\n", h.Dir)
				fmt.Fprintf(w, "  root.key, ca.key\tsign trust policies and certificates: keep them offline\n")
				fmt.Fprintf(w, "  publishers/%s.key\tsigns versions: stays with the publisher\n", publisher)
				fmt.Fprintf(w, "  activation/\tsigns pointers: goes to the leader\n")
				for _, r := range regions {
					fmt.Fprintf(w, "  coordinator-%s/\tgoes to region %s's coordinator\n", r, r)
				}
				fmt.Fprintf(w, "  client/\tyour certificate for the control API\n")
			})
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&regions, "regions", []string{"eu", "us"},
		"`REGIONS` of the fleet; the coordinator of the first region leads")
	f.StringVar(&publisher, "publisher", "admin",
		"`NAME` of the first publisher, whose key may sign for every config")
	f.StringSliceVar(&hosts, "host", nil,
		"`NAME` or IP address that the coordinators' certificates cover too; may be repeated")
	return cmd
}

func newCert(a *app) *cobra.Command {
	cmd := parent(&cobra.Command{Use: "cert", Short: "Issue identity bundles for hosts, coordinators and clients"})
	for _, role := range []identity.Role{identity.RoleAgent, identity.RoleCoordinator, identity.RoleClient} {
		cmd.AddCommand(newCertRole(a, role))
	}
	return cmd
}

// bundleFor says what a bundle of each role is for.
var bundleFor = map[identity.Role]string{
	identity.RoleAgent:       "Create the keys and certificate that host NAME runs with",
	identity.RoleCoordinator: "Create the keys and certificate that coordinator NAME runs with",
	identity.RoleClient:      "Create the keys and certificate that user NAME runs the CLI with",
}

func newCertRole(a *app, role identity.Role) *cobra.Command {
	var (
		region, out string
		hosts       []string
		offline     bool
	)
	cmd := &cobra.Command{
		Use:   string(role) + " NAME",
		Short: bundleFor[role],
		Args:  exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if region == "" {
				return usagef("--region is required: the region that the holder belongs to")
			}
			id := identity.Identity{Role: role, Region: region, Name: args[0]}
			if out == "" {
				out = filepath.Join(a.home, string(role)+"s", args[0])
			}
			if err := (&identity.Home{Dir: a.home}).Issue(out, id, hosts...); err != nil {
				return err
			}
			issued := issuedIdentity{Identity: id.String(), Dir: out}
			if role == identity.RoleAgent && !offline {
				issued.Expected = a.expectIssued(cmd.Context(), id)
			}
			return a.print(issued, func(w io.Writer) { fmt.Fprintf(w, "%s\t%s\n", id, out) })
		},
	}
	cmd.Flags().StringVar(&region, "region", "", "`REGION` that the holder belongs to")
	cmd.Flags().StringVar(&out, "out", "", "`DIR` to write the bundle to (default HOME/"+string(role)+"s/NAME)")
	cmd.Flags().StringSliceVar(&hosts, "host", nil,
		"`NAME` or IP address that the certificate covers too; may be repeated")
	if role == identity.RoleAgent {
		cmd.Long = `Create the keys and certificate that host NAME runs with, and list the host in the inventory of
the coordinator, so that status counts it even if it never comes up.

If the coordinator can't be reached, say 'banyan agents expect NAME' where it can.`
		cmd.Example = "  banyan cert agent eu-host-7 --region eu"
		cmd.Flags().BoolVar(&offline, "offline", false, "do not tell the coordinator")
	}
	return cmd
}

// issuedIdentity is the output of cert.
type issuedIdentity struct {
	Identity string `json:"identity"`
	Dir      string `json:"dir"`
	// Expected is true if the host is in the inventory of the coordinator.
	Expected bool `json:"expected,omitempty"`
}

// expectTimeout is the maximum time to tell the coordinator of an issued identity.
const expectTimeout = 5 * time.Second

// expectIssued lists a host that was issued an identity in the inventory. If that fails it says
// what to do, and returns false: the identity is issued all the same.
func (a *app) expectIssued(ctx context.Context, id identity.Identity) bool {
	client, _, err := a.client()
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, expectTimeout)
		defer cancel()
		in := api.ExpectHosts{Hosts: []api.ExpectedHost{{Region: id.Region, Name: id.Name}}}
		_, err = client.Expect(ctx, in)
	}
	switch {
	case err == nil:
	case api.IsCode(err, api.CodeConflict):
		a.say("note: host %s is not in the inventory until it attaches: %s", id.Name, err)
	default:
		a.say("note: host %s is not in the inventory until it attaches, because the coordinator was not told: %s; to tell it: "+
			"banyan agents expect %s --region %s", id.Name, err, id.Name, id.Region)
	}
	return err == nil
}
