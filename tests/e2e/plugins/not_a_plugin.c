/* A shared object without muster_plugin. */
int not_a_plugin(void);
int not_a_plugin(void)
{
    return 1;
}
