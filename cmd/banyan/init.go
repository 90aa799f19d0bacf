package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

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
		Short: "Make a fleet's keys, certificates and trust policy",
		Long: `Make, in the directory --home, what a fleet's trust grows from: a root key that signs
the trust policy, a publisher key, an activation key for each region, the authority
that issues node certificates, a bundle for each region's coordinator, and one for
you. Move root.key and ca.key to a safe place when you are done.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			h, err := identity.InitHome(a.home, regions, publisher, hosts...)
			if err != nil {
				return err
			}
			out := map[string]any{"home": h.Dir, "regions": regions, "publisher": publisher}
			return a.print(out, func(w io.Writer) {
				fmt.Fprintf(w, "made %s\n", h.Dir)
				fmt.Fprintf(w, "  root.key, ca.key\tsign trust policies and certificates: keep them offline\n")
				fmt.Fprintf(w, "  publishers/%s.key\tsigns versions: stays with who publishes\n", publisher)
				fmt.Fprintf(w, "  activation/\tsigns pointers: goes to the leading coordinator\n")
				for _, r := range regions {
					fmt.Fprintf(w, "  coordinator-%s/\tgoes to region %s's coordinator\n", r, r)
				}
				fmt.Fprintf(w, "  client/\tyour certificate for the control API\n")
			})
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&regions, "regions", []string{"eu", "us"}, "the fleet's regions; the first one's coordinator leads")
	f.StringVar(&publisher, "publisher", "admin", "name of the first publisher, who may sign for every config")
	f.StringSliceVar(&hosts, "host", nil, "DNS name or IP address that coordinators' certificates also cover")
	return cmd
}

func newCert(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "cert", Short: "Issue identity bundles"}
	for _, role := range []identity.Role{identity.RoleAgent, identity.RoleCoordinator, identity.RoleClient} {
		cmd.AddCommand(newCertRole(a, role))
	}
	return cmd
}

func newCertRole(a *app, role identity.Role) *cobra.Command {
	var (
		region, out string
		hosts       []string
	)
	cmd := &cobra.Command{
		Use:   string(role) + " NAME",
		Short: fmt.Sprintf("Issue a bundle for %s NAME", role),
		Args:  exactly("NAME"),
		RunE: func(_ *cobra.Command, args []string) error {
			if region == "" {
				return usagef("--region is needed")
			}
			id := identity.Identity{Role: role, Region: region, Name: args[0]}
			if out == "" {
				out = filepath.Join(a.home, string(role)+"s", args[0])
			}
			if err := (&identity.Home{Dir: a.home}).Issue(out, id, hosts...); err != nil {
				return err
			}
			return a.print(map[string]string{"identity": id.String(), "dir": out}, func(w io.Writer) {
				fmt.Fprintf(w, "%s\t%s\n", id, out)
			})
		},
	}
	cmd.Flags().StringVar(&region, "region", "", "region the holder belongs to")
	cmd.Flags().StringVar(&out, "out", "", "directory for the bundle (default HOME/ROLEs/NAME)")
	cmd.Flags().StringSliceVar(&hosts, "host", nil, "DNS name or IP address that the certificate also covers")
	return cmd
}
